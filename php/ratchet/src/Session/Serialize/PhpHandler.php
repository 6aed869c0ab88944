<?php

declare(strict_types=1);

namespace Ratchet\Session\Serialize;

/**
 * The format `php`: a name, a bar, a serialized value, the next name.
 */
class PhpHandler implements HandlerInterface
{
    public function serialize(array $data)
    {
        $raw = '';
        foreach ($data as $name => $value) {
            $raw .= $name . '|' . serialize($value);
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
            $bar = strpos($raw, '|', $offset);
            if ($bar === false) {
                throw new \UnexpectedValueException("The session has no name at offset $offset");
            }
            $name = substr($raw, $offset, $bar - $offset);
            [$data[$name], $offset] = SerializedValue::read($raw, $bar + 1);
        }

        return $data;
    }
}
