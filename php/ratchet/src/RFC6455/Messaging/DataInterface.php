<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

/**
 * Something that can be sent: a frame, or a message of frames.
 */
interface DataInterface
{
    /**
     * @return bool Whether it is complete.
     */
    public function isCoalesced();

    /**
     * @return int Bytes.
     */
    public function getPayloadLength();

    /**
     * @return string
     */
    public function getPayload();

    /**
     * @return string The bytes on the wire, framing included.
     */
    public function getContents();

    /**
     * @return string The payload, unmasked.
     */
    public function __toString();
}
