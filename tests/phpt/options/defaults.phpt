--TEST--
Options have the documented defaults
--EXTENSIONS--
sprocket
--FILE--
<?php
require __DIR__ . '/../inc/client.inc';

$server = new Sprocket\Options();
foreach (get_object_vars($server) as $name => $value) {
    echo $name, ' ', $value instanceof UnitEnum ? $value->name : json_encode($value), "\n";
}
--EXPECT--
maxConnections null
maxConnectionsPerIp 0
maxMessageSize 1048576
maxHeaderSize 16384
maxBodySize 1048576
handshakeTimeout 10
pingInterval 25
pingTimeout 20
closeTimeout 3
sendBufferLimit 1048576
slowConsumer Close
maxPendingMessages 256
maxPendingBytes 4194304
origins null
subprotocols []
strictSubprotocols false
healthPath null
ioThreads 1
backlog 4096
trustedProxies []
metricsPath null
tls null
compression false
publishSocket null
publishSocketMode 384
staticFiles null
history []
broker null
brokerPrefix "sprocket:"
brokerQueue 16777216
workers 1
maxRequests 0
maxMemory 0
logger null
maxPendingTotal 67108864
maxHandshakes null
maxHandshakesPerIp 0
