<?php

/**
 * Loads the libraries that a server script of the tests runs on, by the environment:
 *
 * - RATCHET_AUTOLOAD: an autoloader of the original Ratchet and all it needs. Without it: this
 *   repository's package.
 * - REACT_AUTOLOAD: an autoloader of ReactPHP. Without it: the stand-in.
 * - PSR_AUTOLOAD: an autoloader of guzzlehttp/psr7 and Symfony. Without it: Debian's packages.
 */

error_reporting(E_ALL);
ini_set('display_errors', 'stderr');

if (getenv('RATCHET_AUTOLOAD')) {
    require getenv('RATCHET_AUTOLOAD');
} else {
    if (getenv('REACT_AUTOLOAD')) {
        require getenv('REACT_AUTOLOAD');
    } else {
        require __DIR__ . '/standin.php';
    }
    if (getenv('PSR_AUTOLOAD')) {
        require getenv('PSR_AUTOLOAD');
    } else {
        foreach (['GuzzleHttp/Psr7', 'Symfony/Component/Routing', 'Symfony/Component/HttpFoundation'] as $package) {
            if (stream_resolve_include_path("$package/autoload.php")) {
                require_once "$package/autoload.php";
            }
        }
    }
    require __DIR__ . '/../../../php/ratchet/src/autoload.php';
}

/**
 * Reports an event to the test.
 */
function tell(string $event, mixed ...$details): void
{
    fwrite(STDOUT, json_encode([$event, ...$details], JSON_INVALID_UTF8_SUBSTITUTE) . "\n");
}

/**
 * Reports the port to the test.
 */
function ready(React\Socket\ServerInterface $socket): void
{
    tell('ready', parse_url($socket->getAddress(), PHP_URL_PORT));
}

function listen(string $address, React\EventLoop\LoopInterface $loop): React\Socket\ServerInterface
{
    return class_exists(React\Socket\SocketServer::class)
        ? new React\Socket\SocketServer($address, [], $loop)
        : new React\Socket\Server($address, $loop);
}

function loop(): React\EventLoop\LoopInterface
{
    return React\EventLoop\Factory::create();
}
