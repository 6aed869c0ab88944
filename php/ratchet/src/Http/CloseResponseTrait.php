<?php

declare(strict_types=1);

namespace Ratchet\Http;

use GuzzleHttp\Psr7\Message;
use GuzzleHttp\Psr7\Response;
use Ratchet\ConnectionInterface;

use const Ratchet\VERSION;

/**
 * Answers a request with a status and closes.
 */
trait CloseResponseTrait
{
    /**
     * @param int                                   $code
     * @param array<string, string|string[]> $additional_headers
     */
    private function close(ConnectionInterface $conn, $code = 400, array $additional_headers = [])
    {
        // The file of ConnectionInterface, loaded for the parameter, declares the constant.
        $response = new Response((int) $code, ['X-Powered-By' => VERSION] + $additional_headers);
        $conn->send(method_exists(Message::class, 'toString') ? Message::toString($response) : \GuzzleHttp\Psr7\str($response));
        $conn->close();
    }
}
