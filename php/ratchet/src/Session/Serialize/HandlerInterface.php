<?php

declare(strict_types=1);

namespace Ratchet\Session\Serialize;

/**
 * One of the formats that `session.serialize_handler` names.
 */
interface HandlerInterface
{
    /**
     * @return string
     */
    public function serialize(array $data);

    /**
     * @param string $raw
     *
     * @return array
     */
    public function unserialize($raw);
}
