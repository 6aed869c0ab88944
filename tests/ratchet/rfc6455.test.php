<?php

/**
 * The classes of ratchet/rfc6455 that applications and client libraries use. No server.
 */

require __DIR__ . '/support/harness.php';

needs('rfc6455');
require __DIR__ . '/support/autoload.php';

use GuzzleHttp\Psr7\HttpFactory;
use GuzzleHttp\Psr7\Request;
use GuzzleHttp\Psr7\Uri;
use Ratchet\RFC6455\Handshake\ClientNegotiator;
use Ratchet\RFC6455\Handshake\PermessageDeflateOptions;
use Ratchet\RFC6455\Handshake\RequestVerifier;
use Ratchet\RFC6455\Handshake\ServerNegotiator;
use Ratchet\RFC6455\Messaging\CloseFrameChecker;
use Ratchet\RFC6455\Messaging\Frame;
use Ratchet\RFC6455\Messaging\Message;
use Ratchet\RFC6455\Messaging\MessageBuffer;

/** A buffer that records its callbacks: `[messages, control frames, buffer]`. */
function buffer(bool $server = true, ?int $limit = null, ?PermessageDeflateOptions $deflate = null, ?callable $sender = null): object
{
    $notes = new class {
        public array $messages = [];
        public array $control = [];
        public MessageBuffer $buffer;
    };
    $notes->buffer = new MessageBuffer(
        new CloseFrameChecker(),
        function ($message) use ($notes) {
            $notes->messages[] = [(string) $message, $message->isBinary()];
        },
        function ($frame) use ($notes) {
            $notes->control[] = [$frame->getOpcode(), $frame->getPayload()];
        },
        $server,
        null,
        $limit,
        null,
        $sender,
        $deflate
    );

    return $notes;
}

check('a frame on the wire, for each form of length', function () {
    foreach ([0, 1, 125, 126, 65535, 65536] as $length) {
        $frame = new Frame(str_repeat('x', $length), true, Frame::OP_BINARY);
        same(Client::frame(2, str_repeat('x', $length), true, false), $frame->getContents(), "length $length");
        same([$length, 2, true, false], [$frame->getPayloadLength(), $frame->getOpcode(), $frame->isFinal(), $frame->isMasked()]);
    }
});

check('a frame collected byte by byte, masked, with more behind it', function () {
    $frame = new Frame();
    foreach (str_split(Client::frame(1, 'Grüße')) as $i => $byte) {
        same(false, $frame->isCoalesced(), "after $i bytes");
        $frame->addBuffer($byte);
    }
    $frame->addBuffer('more');
    same([true, true, "\x12\x34\x56\x78"], [$frame->isCoalesced(), $frame->isMasked(), $frame->getMaskingKey()]);
    same(['more', ''], [$frame->extractOverflow(), $frame->extractOverflow()]);
    same(['Grüße', 'Grüße'], [$frame->getPayload(), (string) $frame]);
    same(Client::frame(1, 'Grüße', true, false), $frame->unMaskPayload()->getContents());
    same(Client::frame(1, 'Grüße'), $frame->maskPayload("\x12\x34\x56\x78")->getContents());
});

check('data that has not arrived throws UnderflowException', function () {
    foreach (['isFinal', 'getOpcode', 'isMasked', 'getPayloadLength', 'getPayload', 'getContents'] as $method) {
        try {
            (new Frame())->$method();
            throw new Failed("$method() returned");
        } catch (UnderflowException) {
        }
    }
    try {
        (new Frame(null, true, 1, fn ($why) => new class($why) extends UnderflowException {
            public string $mark = 'ours';
        }))->getPayload();
    } catch (UnderflowException $e) {
        same('ours', $e->mark ?? null);
    }
});

check('a message of several frames, and a received one', function () {
    $message = (new Message())->addFrame(new Frame('ab', false, Frame::OP_BINARY));
    same([false, 2, 1], [$message->isCoalesced(), $message->getPayloadLength(), count($message)]);
    $message->addFrame(new Frame('cd', true, Frame::OP_CONTINUE));
    same([true, 'abcd', true, 2], [$message->isCoalesced(), $message->getPayload(), $message->isBinary(), count(iterator_to_array($message))]);
    same("\x02\x02ab\x80\x02cd", $message->getContents());
    if (!original()) {
        $received = Message::fromPayload('xyz', false);
        same([1, 1, "\x81\x03xyz", false], [count($received), count(iterator_to_array($received)), $received->getContents(), $received->isBinary()]);
    }
});

check('messages of bytes, in any pieces, with control frames in between', function () {
    $bytes = Client::frame(1, 'one') . Client::frame(2, 'tw', false) . Client::frame(9, 'p') . Client::frame(0, 'o') . Client::frame(1, '');
    foreach ([1, 2, 7, 1000] as $size) {
        $got = buffer();
        foreach (str_split($bytes, $size) as $piece) {
            $got->buffer->onData($piece);
        }
        same([['one', false], ['two', true], ['', false]], $got->messages, "pieces of $size");
        same([[9, 'p']], $got->control);
    }
});

$violations = [
    'no mask' => [Client::frame(1, 'x', true, false), 1002],
    'reserved bit' => ["\xc1" . substr(Client::frame(1, 'x'), 1), 1002],
    'an opcode that is none' => [Client::frame(3, 'x'), 1002],
    'a continuation of nothing' => [Client::frame(0, 'x'), 1002],
    'a message within a message' => [Client::frame(1, 'x', false) . Client::frame(1, 'y'), 1002],
    'a fragmented ping' => [Client::frame(9, 'x', false), 1002],
    'a long ping' => [Client::frame(9, str_repeat('x', 126)), 1002],
    'a close code that must not be sent' => [Client::frame(8, "\x03\xed"), 1002],
    'half a close code' => [Client::frame(8, "\x03"), 1002],
    'text that is not UTF-8' => [Client::frame(1, "\xff"), 1007],
    'a reason that is not UTF-8' => [Client::frame(8, "\x03\xe8\xff"), 1007],
    'too large a message' => [Client::frame(1, str_repeat('x', 600), false) . Client::frame(0, str_repeat('x', 600)), 1009],
];
foreach ($violations as $what => [$bytes, $code]) {
    check("$what: $code, and nothing is read any more", function () use ($bytes, $code) {
        $got = buffer(true, 1000);
        $got->buffer->onData($bytes . Client::frame(1, 'after'));
        same([8, $code], [$got->control[0][0] ?? null, unpack('n', ($got->control[0][1] ?? '') . "\0\0")[1]]);
        if (!original()) {
            same([], $got->messages);
        }
    });
}

check('compression, both ways, with context and without', function () {
    if (!PermessageDeflateOptions::permessageDeflateSupported()) {
        return;
    }
    $text = str_repeat('compress me, ', 200);
    $options = PermessageDeflateOptions::createEnabled();
    foreach ([$options, $options->withServerNoContextTakeover()->withClientNoContextTakeover(), $options->withServerMaxWindowBits(10)] as $options) {
        $wire = '';
        $client = buffer(false, null, $options, fn () => null);
        $server = buffer(true, null, $options, function ($bytes) use (&$wire) {
            $wire .= $bytes;
        });
        $server->buffer->sendMessage($text);
        $server->buffer->sendMessage($text, true, true);
        that(strlen($wire) < strlen($text) / 5, 'smaller on the wire');
        $client->buffer->onData($wire);
        same([[$text, false], [$text, true]], $client->messages);
    }
});

check('a handshake between the negotiators', function () {
    $client = new ClientNegotiator();
    $request = $client->generateRequest(new Uri('ws://localhost:8080/chat?x=1'))->withHeader('Sec-WebSocket-Protocol', 'soap, chat');
    $server = new ServerNegotiator(new RequestVerifier());
    $server->setSupportedSubProtocols(['chat']);
    $response = $server->handshake($request);
    same([101, 'chat'], [$response->getStatusCode(), $response->getHeaderLine('Sec-WebSocket-Protocol')]);
    that((bool) $client->validateResponse($request, $response), 'the client agrees');
    that(!$client->validateResponse($request, $response->withHeader('Sec-WebSocket-Accept', 'x')), 'another key is refused');
    if (!original()) {
        // The arguments of version 0.4, which ratchet/pawl passes to 0.3 as well.
        $deflate = PermessageDeflateOptions::createEnabled();
        $request = (new ClientNegotiator(new HttpFactory(), $deflate))->generateRequest(new Uri('ws://localhost/'));
        $response = (new ServerNegotiator(new RequestVerifier(), new HttpFactory(), true))->handshake($request);
        same([101, 'permessage-deflate'], [$response->getStatusCode(), $response->getHeaderLine('Sec-WebSocket-Extensions')]);
    }
});

check('ServerNegotiator refuses in the order of RFC 6455', function () {
    $good = ['Host' => 'a', 'Upgrade' => 'websocket', 'Connection' => 'keep-alive, Upgrade', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version' => '13'];
    $server = new ServerNegotiator(new RequestVerifier());
    $status = fn ($method, $headers, $version = '1.1') => $server->handshake(new Request($method, '/', $headers, null, $version))->getStatusCode();
    same(101, $status('GET', $good));
    same(405, $status('POST', []));
    same(505, $status('GET', [], '1.0'));
    same(400, $status('GET', []));
    same(426, $status('GET', ['Upgrade' => 'h2c'] + $good));
    same(400, $status('GET', ['Connection' => 'close'] + $good));
    same(400, $status('GET', ['Sec-WebSocket-Key' => 'short'] + $good));
    same(426, $status('GET', ['Sec-WebSocket-Version' => '8'] + $good));
});

finish();
