<?php

declare(strict_types=1);

namespace Ratchet\Wamp;

/**
 * A message is not JSON. The code is that of json_last_error().
 */
class JsonException extends Exception
{
    public function __construct()
    {
        parent::__construct(json_last_error_msg(), json_last_error());
    }
}
