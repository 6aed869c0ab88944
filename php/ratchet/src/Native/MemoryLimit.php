<?php

declare(strict_types=1);

namespace Ratchet\Native;

/**
 * Ratchet's limit for one message: a quarter of memory_limit.
 */
final class MemoryLimit
{
    /**
     * @return int|null Bytes; null if memory is not limited.
     */
    public static function quarter(): ?int
    {
        $limit = trim((string) ini_get('memory_limit'));
        $bytes = (int) $limit;
        if ($bytes <= 0) {
            return null;
        }
        $bytes <<= ['k' => 10, 'm' => 20, 'g' => 30][strtolower(substr($limit, -1))] ?? 0;

        return max(1, intdiv($bytes, 4));
    }
}
