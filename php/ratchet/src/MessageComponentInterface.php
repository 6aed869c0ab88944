<?php

declare(strict_types=1);

namespace Ratchet;

/**
 * A component that receives data as strings: most applications.
 */
interface MessageComponentInterface extends ComponentInterface, MessageInterface
{
}
