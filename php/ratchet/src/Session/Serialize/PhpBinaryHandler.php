<?php

declare(strict_types=1);

namespace Ratchet\Session\Serialize;

/**
 * The format `php_binary`: the length of a name as a byte, the name, a serialized value.
 */
class PhpBinaryHandler implements HandlerInterface
{
    /** The length's highest bit says that no value follows. */
    private const UNDEFINED = 0x80;

    public function serialize(array $data)
    {
        $raw = '';
        foreach ($data as $name => $value) {
            // PHP leaves out longer names, too.
            if (strlen((string) $name) < self::UNDEFINED) {
                $raw .= chr(strlen((string) $name)) . $name . serialize($value);
            }
        }

        return $raw;
    }

    /**
     * @throws \UnexpectedValueException If it is not of this format.
     */
    public function unserialize($raw)
    {
        $data = [];
        $offset = 0;
        while ($offset < strlen($raw)) {
            $length = ord($raw[$offset]);
            $name = substr($raw, $offset + 1, $length & ~self::UNDEFINED);
            $offset += 1 + strlen($name);
            if (($length & self::UNDEFINED) === 0) {
                [$data[$name], $offset] = SerializedValue::read($raw, $offset);
            }
        }

        return $data;
    }
}
