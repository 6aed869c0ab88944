<?php

declare(strict_types=1);

namespace Ratchet\RFC6455\Messaging;

/**
 * Checks whether a close code may be sent in a close frame (RFC 6455 section 7.4).
 */
class CloseFrameChecker
{
    /**
     * @param int $val
     *
     * @return bool
     */
    public function __invoke($val)
    {
        return ($val >= 3000 && $val <= 4999) || ($val >= 1000 && $val <= 1003) || ($val >= 1007 && $val <= 1014);
    }
}
