--TEST--
phpinfo() shows the version, the supported features, and the versions of the libraries
--EXTENSIONS--
sprocket
--FILE--
<?php
$extension = new ReflectionExtension('sprocket');
ob_start();
$extension->info();
$info = ob_get_clean();
echo preg_replace('/^Version => ' . preg_quote($extension->getVersion()) . '$/m', 'Version => the same', $info);
--EXPECTF--

sprocket

Sprocket => enabled
Version => the same
Protocols => WebSocket (RFC 6455, version 13), HTTP/1.1, HTTP/2 (RFC 8441)
Listeners => ws://, wss://, unix://, fd://, streams, sockets
Publishers => unix://, redis://, rediss://, redis+unix://, nats://, tls://
TLS => 1.2, 1.3 (rustls)
Compression => permessage-deflate (RFC 7692)
Event loops => own, stream_select, Revolt, ReactPHP
tokio => %d.%d.%d
tokio-tungstenite => %d.%d.%d
hyper => %d.%d.%d
rustls => %d.%d.%d
zlib-rs => %d.%d.%d
INI settings => none: use Sprocket\Options
