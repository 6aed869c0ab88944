<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Ratchet\ComponentInterface;
use Ratchet\ConnectionInterface;

/**
 * Handles exceptions and errors that components throw.
 */
final class Failure
{
    /**
     * Passes an exception or error to onError() of the components. If onError() itself throws, that exception
     * is logged, and the connection is closed.
     */
    public static function tell(ComponentInterface $app, ConnectionInterface $conn, \Throwable $e): void
    {
        try {
            $app->onError($conn, self::asException($e));
        } catch (\Throwable $again) {
            self::report($again, 'onError');
            try {
                $conn->close();
            } catch (\Throwable $third) {
                self::report($third, 'close');
            }
        }
    }

    /**
     * Logs an exception or error that no component can handle.
     */
    public static function report(\Throwable $e, string $where): void
    {
        $message = 'Uncaught in ' . $where . ': ' . $e::class . ': ' . $e->getMessage();
        Log::write('error', 'callback.failed', $message, ['exception' => $e], "uncaught in $where: $e");
    }

    /**
     * Handlers take an \Exception. A \TypeError and its kin come as an \ErrorException of the
     * same message, file and line, with the error itself as the previous one.
     */
    public static function asException(\Throwable $e): \Exception
    {
        return $e instanceof \Exception
            ? $e
            : new \ErrorException($e->getMessage(), (int) $e->getCode(), E_ERROR, $e->getFile(), $e->getLine(), $e);
    }
}
