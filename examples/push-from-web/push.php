<?php
/**
 * Pushes a message to a room: as a web request (POST room and text) under php-fpm or mod_php, or
 * from the command line:
 *
 *     php -d extension=sprocket examples/push-from-web/push.php ROOM TEXT [socket]
 *
 * The PHP process keeps the connection to the server between requests.
 */

declare(strict_types=1);

use Sprocket\{PublishException, Publisher};

[$room, $text, $socket] = PHP_SAPI === 'cli'
    ? [$argv[1] ?? '', $argv[2] ?? '', $argv[3] ?? null]
    : [$_POST['room'] ?? '', $_POST['text'] ?? '', $_SERVER['PUBLISH_SOCKET'] ?? null];
$socket ??= sys_get_temp_dir() . '/sprocket-push-' . get_current_user() . '.sock';

if (!is_string($room) || !is_string($text) || !preg_match('/^\w{1,50}$/', $room) || !preg_match('//u', $text)) {
    http_response_code(400);
    exit("A room (one word) and a text, please\n");
}

try {
    (new Publisher("unix://$socket", timeout: 0.5))->publish("room.$room", $text);
    echo "Pushed\n";
} catch (PublishException $e) {
    // Worth a log entry; whether to try again depends on $e->uncertain.
    http_response_code(503);
    echo $e->getMessage(), "\n";
}
