<?php

declare(strict_types=1);

namespace Ratchet\WebSocket;

use Ratchet\ComponentInterface;

/**
 * An application that receives messages as objects.
 */
interface MessageComponentInterface extends ComponentInterface, MessageCallableInterface
{
}
