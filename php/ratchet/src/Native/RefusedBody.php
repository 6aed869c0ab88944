<?php

declare(strict_types=1);

namespace Ratchet\Native;

use Sprocket\Request;
use Sprocket\Server;

/**
 * Logs the first request that is refused because of its body: Ratchet has no such limit, and no
 * component is called that could report it.
 */
final class RefusedBody
{
    /**
     * @param int $limit The server's `maxBodySize`.
     */
    public static function watch(Server $server, int $limit): void
    {
        if (Settings::logger() !== null) {
            // The native server writes a line for each such request.
            return;
        }
        $server->onRefused(static function (Request $request, int $status) use ($server, $limit): void {
            if ($status !== 413) {
                return;
            }
            $server->onRefused(null);
            $why = $limit === 0
                ? 'no component of this application accepts bodies'
                : "its body is larger than $limit bytes";
            $message = "A request was refused with 413, as further ones will be: $why. "
                . "Ratchet\Native\Settings::set(['maxBodySize' => …]) sets another limit";
            Log::write('notice', 'body.refused', $message);
        });
    }
}
