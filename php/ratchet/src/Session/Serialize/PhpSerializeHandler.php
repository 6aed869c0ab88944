<?php

declare(strict_types=1);

namespace Ratchet\Session\Serialize;

/**
 * The format `php_serialize`: the whole session as one serialized array.
 */
class PhpSerializeHandler implements HandlerInterface
{
    public function serialize(array $data)
    {
        return serialize($data);
    }

    /**
     * @throws \UnexpectedValueException If it is not of this format.
     */
    public function unserialize($raw)
    {
        $data = $raw === '' ? [] : @unserialize($raw);
        if (!is_array($data)) {
            throw new \UnexpectedValueException('The session is not a single serialized array');
        }

        return $data;
    }
}
