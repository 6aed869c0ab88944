<?php

declare(strict_types=1);

/** A page for php-fpm that publishes the posted message, and answers with the result as JSON. */

$begun = hrtime(true);
$answer = ['pid' => getmypid(), 'error' => null];
try {
    $publisher = new Sprocket\Publisher($_POST['address'], (float) ($_POST['timeout'] ?? 1.0));
    $begun = hrtime(true);
    $publisher->publish($_POST['topic'], $_POST['payload'], (bool) ($_POST['binary'] ?? false));
} catch (Sprocket\Exception $e) {
    $answer['error'] = $e::class . ': ' . $e->getMessage();
    $answer['uncertain'] = $e->uncertain ?? null;
    http_response_code(503);
}
echo json_encode($answer + ['seconds' => (hrtime(true) - $begun) / 1e9]);
