<?php

declare(strict_types=1);

/**
 * Loads the package where Composer doesn't. Its dependencies need an autoloader of their own.
 */
spl_autoload_register(static function (string $class): void {
    if (strncmp($class, 'Ratchet\\', 8) !== 0) {
        return;
    }
    $file = __DIR__ . '/' . strtr(substr($class, 8), '\\', '/') . '.php';
    if (is_file($file)) {
        require $file;
    }
});
