<?php

declare(strict_types=1);

namespace Ratchet\Http;

use GuzzleHttp\Psr7\Message;
use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\MessageInterface;

/**
 * Collects the head of a request from raw data. Where the native server holds the connection it
 * has parsed the request itself, and this class sets only the limit.
 */
class HttpRequestParser implements MessageInterface
{
    const EOM = "\r\n\r\n";

    /** @var int Bytes that a head may have. The native server never allows less than 16 KiB. */
    public $maxSize = 4096;

    /**
     * @param string $data
     *
     * @return RequestInterface|null Null until the head is complete.
     *
     * @throws \OverflowException If there is more data than $maxSize.
     */
    public function onMessage(ConnectionInterface $context, $data)
    {
        $context->httpBuffer = ($context->httpBuffer ?? '') . $data;
        if (strlen($context->httpBuffer) > (int) $this->maxSize) {
            throw new \OverflowException("The head of the request is larger than {$this->maxSize} bytes");
        }
        if (!$this->isEom($context->httpBuffer)) {
            return null;
        }
        $request = $this->parse($context->httpBuffer);
        unset($context->httpBuffer);

        return $request;
    }

    /**
     * Whether a message contains the end of a head.
     *
     * @param string $message
     *
     * @return bool
     */
    public function isEom($message)
    {
        return str_contains($message, static::EOM);
    }

    /**
     * @param string $headers
     *
     * @return RequestInterface
     */
    public function parse($headers)
    {
        return Message::parseRequest($headers);
    }
}
