--TEST--
Files inside the static directory are served without PHP, and no file outside it is
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$folder = sys_get_temp_dir() . '/sprocket-static-' . bin2hex(random_bytes(6));
register_shutdown_function(fn () => exec('rm -rf ' . escapeshellarg($folder)));
mkdir("$folder/public/sub", recursive: true);
mkdir("$folder/public/empty");
mkdir("$folder/public/50%25 off?");
mkdir("$folder/public/.well-known");
file_put_contents("$folder/secret.txt", 'secret');
$files = ['index.html' => '<h1>Hello</h1>', 'sub/index.html' => 'sub', '50%25 off?/index.html' => 'off', 'a b.css' => 'p {}', 'data.bin' => str_repeat('0123456789', 30_000),
    'noext' => 'x', 'empty.txt' => '', '.env' => 'secret', 'config.php' => 'secret', '.well-known/x.txt' => 'known',
    'a.php.bak' => 'secret', 'trail.php.' => 'secret', 'b.php~' => 'secret', 'c.PHTML' => 'secret', 'db.inc' => 'secret', 'd.php.txt' => 'secret'];
foreach ($files as $name => $content) {
    file_put_contents("$folder/public/$name", $content);
    touch("$folder/public/$name", time() - 60); // old enough for a strong ETag
}
symlink("$folder/secret.txt", "$folder/public/link.txt");
symlink('/etc', "$folder/public/etc");
exec('mkfifo ' . escapeshellarg("$folder/public/fifo"));

$server = new Sprocket\Server('ws://127.0.0.1:0', new Sprocket\Options(staticFiles: "$folder/public", healthPath: '/data.bin'));
$server->start();

// Nothing calls poll(), so PHP takes no part.
function ask(string $target, string $method = 'GET', array $headers = []): object
{
    global $server;
    // The client does not know that a response to HEAD has no body, and waits for the end of the connection.
    $headers += $method === 'HEAD' ? ['Connection' => 'close'] : [];
    $lines = implode('', array_map(fn ($n, $v) => "$n: $v\r\n", array_keys($headers), $headers));
    $client = new Client($server->addresses()[0], fn () => usleep(1000));
    return $client->raw("$method $target HTTP/1.1\r\nHost: localhost\r\n$lines\r\n")->response();
}

function show(string $what, object $r, string ...$headers): void
{
    $shown = array_map(fn ($n) => "$n: " . ($r->headers[$n] ?? '-'), $headers);
    echo "$what: $r->status ", implode(', ', $shown), ' ', json_encode(strlen($r->body) > 60 ? strlen($r->body) : $r->body), "\n";
}

show('index', ask('/'), 'content-type', 'x-content-type-options', 'cache-control');
show('query', ask('/?a=1'));
show('folder', ask('/sub?a=1'), 'location');
show('its index', ask('/sub/'));
show('encoded folder', $encoded = ask('/50%2525%20off%3f'), 'location');
show('its index', ask($encoded->headers['location'] ?? '/'));
show('blank', ask('/a%20b.css'), 'content-type');
show('no type', ask('/noext'), 'content-type');
show('well-known', ask('/.well-known/x.txt'));
show('HEAD', $head = ask('/', 'HEAD'), 'content-length', 'content-type');
show('tag', ask('/', headers: ['If-None-Match' => '"other", ' . $head->headers['etag']]));
show('other tag', ask('/', headers: ['If-None-Match' => '"other"']));
show('date', ask('/', headers: ['If-Modified-Since' => $head->headers['last-modified']]));
$tag = $head->headers['etag'];
echo 'strong: ', var_export($tag[0] === '"', true), "\n";
show('the tag is wanted', ask('/', headers: ['If-Match' => $tag]));
show('any is wanted', ask('/', headers: ['If-Match' => '*']));
show('another is wanted', ask('/', headers: ['If-Match' => '"other"']));
show('unmodified', ask('/', headers: ['If-Unmodified-Since' => $head->headers['last-modified']]));
show('modified since', ask('/', headers: ['If-Unmodified-Since' => 'Sun, 09 Sep 2001 01:46:40 GMT']));
show('a known date, another tag', ask('/', headers: ['If-None-Match' => '"other"', 'If-Modified-Since' => $head->headers['last-modified']]));
show('the rest of the same', ask('/', headers: ['Range' => 'bytes=4-8', 'If-Range' => $tag]));
show('the rest of another', ask('/', headers: ['Range' => 'bytes=4-8', 'If-Range' => '"other"']));
show('range', ask('/', headers: ['Range' => 'bytes=4-8']), 'content-range');
show('range beyond', ask('/', headers: ['Range' => 'bytes=400-']), 'content-range');
show('the end of nothing', ask('/empty.txt', headers: ['Range' => 'bytes=-5']), 'content-range');
show('ranges', ask('/', headers: ['Range' => 'bytes=0-1,0-1']));
show('the health path comes first', ask('/data.bin'));
show('POST', ask('/', 'POST', ['Content-Length' => '0']), 'allow');
foreach ([
    '/missing', '/empty/', '/empty', '/index.html/', '/index.html/x', '/../secret.txt', '/sub/../../secret.txt', '/%2e%2e/secret.txt',
    '/..%2fsecret.txt', '/%2e%2e%2fsecret.txt', '/..%5csecret.txt', '//etc/passwd', '/sub//../../secret.txt', '/%00', '/index.html%00.txt',
    '/link.txt', '/etc/passwd', '/etc/', '/fifo', '/.env', '/%2eenv', '/config.php', '/config.php/', '/a.php.bak', '/trail.php.', '/b.php~', '/b.php%7e', '/c.PHTML', '/db.inc', '/d.php.txt', '/' . str_repeat('x', 300), '/%ff',
] as $target) {
    $response = ask($target);
    if ($response->status !== 404 || str_contains($response->body, 'secret')) {
        echo "$target: $response->status $response->body\n";
    }
}

// A request for a missing file goes to onRequest.
$server->onRequest(fn ($r) => new Sprocket\Response(200, "PHP: {$r->method()} {$r->path()}"));
foreach (['GET /missing', 'POST /', 'GET /.env', 'GET /'] as $line) {
    echo Client::of($server)->raw("$line HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")->response()->body, "\n";
}
rename("$folder/public", "$folder/moved");
show('a directory that has moved', ask('/'));
--EXPECT--
index: 200 content-type: text/html; charset=utf-8, x-content-type-options: nosniff, cache-control: no-cache "<h1>Hello<\/h1>"
query: 200  "<h1>Hello<\/h1>"
folder: 301 location: /sub/?a=1 ""
its index: 200  "sub"
encoded folder: 301 location: /50%2525%20off%3F/ ""
its index: 200  "off"
blank: 200 content-type: text/css; charset=utf-8 "p {}"
no type: 200 content-type: application/octet-stream "x"
well-known: 200  "known"
HEAD: 200 content-length: 14, content-type: text/html; charset=utf-8 ""
tag: 304  ""
other tag: 200  "<h1>Hello<\/h1>"
date: 304  ""
strong: true
the tag is wanted: 200  "<h1>Hello<\/h1>"
any is wanted: 200  "<h1>Hello<\/h1>"
another is wanted: 412  "The file does not meet the preconditions of the request.\n"
unmodified: 200  "<h1>Hello<\/h1>"
modified since: 412  "The file does not meet the preconditions of the request.\n"
a known date, another tag: 200  "<h1>Hello<\/h1>"
the rest of the same: 206  "Hello"
the rest of another: 200  "<h1>Hello<\/h1>"
range: 206 content-range: bytes 4-8/14 "Hello"
range beyond: 416 content-range: bytes */14 ""
the end of nothing: 200 content-range: - ""
ranges: 200  "<h1>Hello<\/h1>"
the health path comes first: 200  "ok\n"
POST: 405 allow: GET "Only GET is answered here.\n"
PHP: GET /missing
PHP: POST /
PHP: GET /.env
<h1>Hello</h1>
a directory that has moved: 200  "<h1>Hello<\/h1>"
