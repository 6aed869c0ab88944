<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

/**
 * A message breaks the rules of WAMP.
 */
class Exception extends \Exception
{
}
