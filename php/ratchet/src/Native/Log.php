<?php

declare(strict_types=1);

namespace Ratchet\Native;

/**
 * Notices of this package for the operator.
 *
 * They go to the logger of {@see Settings::set()}, by the same rules as those of the native server:
 * a PSR-3 logger, or a callable with the parameters of its method `log()`.
 */
final class Log
{
    /**
     * Writes one line. Without a logger, or if that throws, PHP's error log gets it.
     *
     * @param string               $event   A stable name, the context's `event`.
     * @param array<string, mixed> $context
     * @param string|null          $plain   What PHP's error log gets instead of the message.
     */
    public static function write(string $level, string $event, string $message, array $context = [], ?string $plain = null): void
    {
        if (!self::toLogger($level, $event, $message, $context)) {
            error_log('Sprocket: ' . ($plain ?? $message));
        }
    }

    /**
     * The same, but without a logger PHP's error handler gets the message.
     *
     * @param int $severity One of `E_USER_*`.
     */
    public static function trigger(string $level, string $event, string $message, int $severity): void
    {
        if (!self::toLogger($level, $event, $message, [])) {
            trigger_error($message, $severity);
        }
    }

    private static function toLogger(string $level, string $event, string $message, array $context): bool
    {
        $logger = Settings::logger();
        if ($logger === null) {
            return false;
        }
        $isPsr = is_object($logger) && method_exists($logger, 'log');
        $log = !$isPsr && is_callable($logger) ? $logger : [$logger, 'log'];
        try {
            $log($level, $message, ['event' => $event] + $context);
        } catch (\Throwable $e) {
            error_log("Sprocket: the logger failed: $e");

            return false;
        }

        return true;
    }
}
