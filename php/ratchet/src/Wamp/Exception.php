<?php

namespace Ratchet\Wamp;

/**
 * A message breaks the rules of WAMP.
 */
class Exception extends \Exception
{
}
