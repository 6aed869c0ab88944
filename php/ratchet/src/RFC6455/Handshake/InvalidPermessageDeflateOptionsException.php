<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Handshake;

/**
 * A header asks for compression in a way that RFC 7692 does not allow.
 */
class InvalidPermessageDeflateOptionsException extends \Exception
{
}
