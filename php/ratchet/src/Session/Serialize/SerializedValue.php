<?php

declare(strict_types=1);

namespace Ratchet\Session\Serialize;

/**
 * Finds the end of a serialized value: session formats concatenate values without their lengths, and
 * unserialize() does not return how much it has read.
 *
 * @internal
 */
final class SerializedValue
{
    /**
     * The offset behind the value that begins at an offset.
     *
     * @throws \UnexpectedValueException If no value begins there.
     */
    public static function end(string $raw, int $offset): int
    {
        if (preg_match('/\G(?:N;|[biRrd]:[^;]*;)/', $raw, $match, 0, $offset)) {
            return $offset + strlen($match[0]);
        }
        if (preg_match('/\G[sE]:(\d+):"/', $raw, $match, 0, $offset)) {
            return $offset + strlen($match[0]) + (int) $match[1] + strlen('";');
        }
        if (preg_match('/\Ga:(\d+):\{/', $raw, $match, 0, $offset)) {
            return self::members($raw, $offset + strlen($match[0]), (int) $match[1]);
        }
        if (preg_match('/\GO:\d+:"[^"]*":(\d+):\{/', $raw, $match, 0, $offset)) {
            return self::members($raw, $offset + strlen($match[0]), (int) $match[1]);
        }
        if (preg_match('/\GC:\d+:"[^"]*":(\d+):\{/', $raw, $match, 0, $offset)) {
            return $offset + strlen($match[0]) + (int) $match[1] + strlen('}');
        }
        throw new \UnexpectedValueException("The session has no serialized value at offset $offset");
    }

    /**
     * The value itself, and the offset behind it.
     *
     * @return array{mixed, int}
     */
    public static function read(string $raw, int $offset): array
    {
        $end = self::end($raw, $offset);

        return [unserialize(substr($raw, $offset, $end - $offset)), $end];
    }

    private static function members(string $raw, int $offset, int $count): int
    {
        for ($i = 0; $i < 2 * $count; $i++) {
            $offset = self::end($raw, $offset);
        }

        return $offset + strlen('}');
    }
}
