<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

/**
 * A frame (RFC 6455 section 5.2).
 */
interface FrameInterface extends DataInterface
{
    /**
     * Appends bytes.
     *
     * @param string $buf
     */
    public function addBuffer($buf);

    /**
     * @return bool Whether it is the last one of its message.
     */
    public function isFinal();

    /**
     * @return bool
     */
    public function isMasked();

    /**
     * @return int
     */
    public function getOpcode();

    /**
     * @return string Empty without a mask.
     */
    public function getMaskingKey();
}
