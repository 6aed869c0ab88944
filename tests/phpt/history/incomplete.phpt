--TEST--
If the history has a gap, resume() replays nothing, and onResume reports it
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

use Sprocket\{Connection, History, Options, Server};

$server = new Server('ws://127.0.0.1:0', new Options(history: [
    'few.*' => new History(messages: 2, stamp: '@'),
    'small.*' => new History(bytes: 100, stamp: '@'),
]));
$answer = null;
$server->onMessage(fn (Connection $c, string $m) => $c->resume(...explode(' ', $m)));
$server->onResume(function (Connection $c, string $topic, bool $complete, int $messages, string $position) use (&$answer): void {
    $answer = [$complete, $messages, $position];
});
$server->start();

function answered(): void
{
    pump($GLOBALS['server'], fn (): bool => $GLOBALS['answer'] !== null);
}

/** Resumes the topic after a position, publishes one more message, and returns what onResume and the client got. */
function after(string $topic, string $position): string
{
    global $server, $answer;
    $answer = null;
    $client = Client::of($server)->open()->frame(Client::BINARY, "$topic $position");
    answered();
    [$complete, $messages, $now] = $answer;
    // The connection is subscribed, from the position that onResume got.
    $server->publish($topic, 'next @');
    $got = [];
    do {
        [$got[], $at] = explode(' ', $client->message());
    } while (end($got) !== 'next');
    $client->close();
    return sprintf("%s, %d again: %s\n", $complete ? 'complete' : 'incomplete', $messages, implode(' ', $got));
}

$seen = [];
$client = Client::of($server)->open()->send('few.1 ');
answered();
for ($i = 0; $i < 5; $i++) {
    $server->publish('few.1', "$i @");
    $seen[] = explode(' ', $client->message())[1];
}
echo 'the last two: ', after('few.1', $seen[2]);
echo 'one too many: ', after('few.1', $seen[1]);
echo 'the start: ', after('few.1', preg_replace('/\d+$/', '0', $seen[0]));
echo 'the future: ', after('few.1', preg_replace('/\d+$/', '99', $seen[0]));
echo 'another time: ', after('few.1', 'ffffffff-' . explode('-', $seen[0])[1]);
echo 'nonsense: ', after('few.1', '<script>');
echo 'no text: ', after('few.1', "\xff\xfe");
echo 'from now: ', after('few.1', '');

$answer = null;
$client->send('small.1 ');
answered();
$position = $answer[2];
$server->publish('small.1', str_repeat('a', 60) . ' @');
$server->publish('small.1', str_repeat('b', 60) . ' @');
echo 'too many bytes: ', after('small.1', $position);
--EXPECT--
the last two: complete, 2 again: 3 4 next
one too many: incomplete, 0 again: next
the start: incomplete, 0 again: next
the future: incomplete, 0 again: next
another time: incomplete, 0 again: next
nonsense: incomplete, 0 again: next
no text: incomplete, 0 again: next
from now: complete, 0 again: next
too many bytes: incomplete, 0 again: next
