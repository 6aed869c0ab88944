<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

/**
 * A message of one or several frames. Iterates over the frames, and counts them.
 */
interface MessageInterface extends DataInterface, \Traversable, \Countable
{
    /**
     * @return MessageInterface
     */
    public function addFrame(FrameInterface $fragment);

    /**
     * @return int
     */
    public function getOpcode();

    /**
     * @return bool
     */
    public function isBinary();
}
