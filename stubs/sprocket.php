<?php

/**
 * Sprocket: a native WebSocket server for PHP.
 *
 * This file is the reference manual of the extension, and what IDEs and static analysers read.
 * It declares what the extension provides and is never loaded beside it. A test compares it with
 * Reflection, both ways.
 *
 * Durations are seconds, sizes are bytes. One PHP thread (with workers, one in each) runs every
 * callback, one at a time and never nested. Threads of the extension serve the sockets, so that pings
 * are answered and handshakes finished while a callback is busy.
 */

namespace Sprocket;

/**
 * A WebSocket server (RFC 6455) that also answers plain HTTP requests on the same port.
 *
 * Set the callbacks, then either call {@see run()}, which blocks until {@see stop()}, or let an
 * event loop of yours drive the server through {@see stream()} and {@see poll()}.
 *
 * An exception or error thrown by a callback goes to {@see onError()}; the server continues.
 *
 * ```php
 * $server = new Sprocket\Server('ws://127.0.0.1:8080');
 * $server->onMessage(function (Sprocket\Connection $c, string $payload, bool $binary): void {
 *     $c->send($payload, $binary);
 * });
 * $server->run();
 * ```
 */
final class Server implements \Countable
{
    /**
     * Checks the addresses; nothing is opened before {@see start()}.
     *
     * An address is one of
     * - `ws://HOST:PORT`, where HOST is an IPv4 address, an IPv6 address in brackets, or a name
     *   such as `localhost`. Port 0 lets the kernel choose: see {@see addresses()}. `[::]` takes
     *   IPv4 peers, too.
     * - `wss://HOST:PORT`: the same with TLS, by {@see Options::$tls}.
     * - `unix:///path/to.sock`: a Unix socket. A stale file is replaced, a live one is an error.
     * - `fd://3`: a listening socket inherited as descriptor 3.
     * - `fd://systemd`: all sockets that systemd has passed (socket activation);
     *   `fd://systemd/NAME`: those whose `FileDescriptorName=` is NAME.
     * - a listening socket: a stream of `stream_socket_server()`, or a `\Socket`. It is
     *   duplicated and may be closed afterwards. `[$socket, 'tls&proxyProtocol']` gives it settings.
     *
     * Settings may follow as a query, `ws://0.0.0.0:80?proxyProtocol&backlog=1000`:
     * - `proxyProtocol`: each connection begins with a header of the PROXY protocol, version 1
     *   or 2, that tells the client's address. It counts from peers in
     *   {@see Options::$trustedProxies}, or from all if that is empty; a connection without it,
     *   or with a malformed one, is cut.
     * - `reusePort` (`ws`, `wss`): `SO_REUSEPORT`, by which several processes share one port.
     * - `ipv6Only` (`ws`, `wss`): an IPv6 address takes no IPv4 peers.
     * - `mode=0660` (`unix`): permissions of the socket's file, in octal; by the umask without it.
     * - `tls` (`fd`, sockets): connections begin with TLS, as with `wss`.
     * - `backlog=1000` (not `fd`, not sockets): instead of {@see Options::$backlog}.
     *
     * @param string|resource|\Socket|non-empty-list<string|resource|\Socket|array{resource|\Socket, string}> $listen
     *        An address, or several.
     * @param Options|null $options Limits, timeouts and policies; the defaults if null.
     *
     * @throws InvalidOption If an address is malformed; its option is `listen`. If one wants
     *         TLS and there are no settings for it; its option is `tls`.
     */
    public function __construct(mixed $listen, ?Options $options = null) {}

    /**
     * Sets the callback that decides about handshakes. It runs before the 101 and must accept or reject,
     * at once or in a later callback; see {@see Handshake}.
     *
     * Without it every well-formed handshake that passes {@see Options::$origins} is accepted
     * by the I/O threads, also while PHP is busy.
     *
     * If the callback throws, or returns without an answer and keeps no reference to the
     * handshake, the client gets a 500.
     *
     * @param (callable(Handshake): void)|null $callback Replaces the previous callback; null removes it.
     */
    public function onUpgrade(?callable $callback): static {}

    /**
     * Sets the callback that runs once when a connection is open. Messages that it sends follow the 101.
     *
     * @param (callable(Connection): void)|null $callback Replaces the previous callback; null removes it.
     */
    public function onOpen(?callable $callback): static {}

    /**
     * Sets the callback that runs for each whole message, in the order in which the peer sent them.
     *
     * A text message (`$binary` false) is valid UTF-8: others close the connection with 1007
     * and are not delivered. Nothing is delivered after {@see Connection::close()}.
     *
     * Messages that a peer sends right before its close frame are delivered, and what this callback
     * sends in answer goes out before the reply to that frame, which waits for it up to
     * {@see Options::$closeTimeout}.
     *
     * @param (callable(Connection, string, bool): void)|null $callback
     *        `function (Connection $connection, string $payload, bool $binary): void`.
     *        Replaces the previous callback; null removes it.
     */
    public function onMessage(?callable $callback): static {}

    /**
     * Sets the callback that runs exactly once when an open connection has ended, whichever side ended it.
     *
     * The code is that of the peer's close frame, or 1005 if the frame had none, or 1006 if the
     * connection ended without one (RFC 6455 section 7.1.5); a timeout or a limit has
     * its own code and reason.
     *
     * @param (callable(Connection, int, string): void)|null $callback
     *        `function (Connection $connection, int $code, string $reason): void`.
     *        Replaces the previous callback; null removes it.
     */
    public function onClose(?callable $callback): static {}

    /**
     * Sets the callback for a connection whose socket has taken everything that waited for it. It runs
     * only after at least a quarter of {@see Options::$sendBufferLimit} had waited, or after a message
     * was dropped: a sender that stays below that limit never sees it. Continue large transfers here.
     *
     * @param (callable(Connection): void)|null $callback Replaces the previous callback; null removes it.
     */
    public function onDrain(?callable $callback): static {}

    /**
     * Sets the callback for each pong, except answers to the server's own keep-alive pings; see
     * {@see Connection::ping()}.
     *
     * @param (callable(Connection, string): void)|null $callback
     *        `function (Connection $connection, string $payload): void`.
     *        Replaces the previous callback; null removes it.
     */
    public function onPong(?callable $callback): static {}

    /**
     * Sets the callback that answers plain HTTP requests. Without it they get a 426, which asks for a
     * WebSocket handshake, except for {@see Options::$healthPath}.
     *
     * A callback that returns null answers by {@see Request::respond()}, at once or from a later
     * callback: within {@see Options::$handshakeTimeout}, after which the client gets a 504. One that
     * has begun a response by {@see Request::stream()} returns null as well.
     *
     * If the callback throws, or returns anything else, or returns null without an answer and
     * keeps no reference to the request, the client gets a 500.
     *
     * @param (callable(Request): ?Response)|null $callback Replaces the previous callback; null removes it.
     */
    public function onRequest(?callable $callback): static {}

    /**
     * Sets the callback for each exception or error that another callback did not catch. The
     * connection stays open: close it if it is no longer useful.
     *
     * Without this callback each is shown and logged like an uncaught exception, but as a warning, which
     * `set_error_handler()` does not receive, and its connection is closed with 1011. An
     * exception thrown by this callback itself is shown and logged likewise.
     *
     * @param (callable(\Throwable, ?Connection): void)|null $callback
     *        `function (\Throwable $error, ?Connection $connection): void`; the connection is
     *        null for handshakes, requests and timers.
     *        Replaces the previous callback; null removes it.
     */
    public function onError(?callable $callback): static {}

    /**
     * Sets the callback that {@see run()} calls once when the server listens; {@see addresses()} returns
     * where.
     *
     * With workers it runs in the master, before the first worker starts. Workers inherit whatever it
     * opens, and this is the place to drop privileges (`posix_setuid()`). An exception thrown here comes
     * out of run().
     *
     * @param (callable(Server): void)|null $callback Replaces the previous callback; null removes it.
     */
    public function onStart(?callable $callback): static {}

    /**
     * Sets the callback that runs first in each worker, before it accepts connections: the place to open
     * connections to databases, which processes must not share.
     *
     * An exception thrown here comes out of {@see run()} and ends the worker: the master tries again
     * after a pause, or aborts the reload that started the worker. A server without workers calls it
     * too, with number 1.
     *
     * @param (callable(Server, int): void)|null $callback
     *        `function (Server $server, int $worker): void`; see {@see worker()}.
     *        Replaces the previous callback; null removes it.
     */
    public function onWorkerStart(?callable $callback): static {}

    /**
     * Sets the callback that runs last in each worker, when all its connections are closed. It does not
     * run after `exit()` or a fatal error.
     *
     * @param (callable(Server, int): void)|null $callback
     *        `function (Server $server, int $worker): void`; see {@see worker()}.
     *        Replaces the previous callback; null removes it.
     */
    public function onWorkerStop(?callable $callback): static {}

    /**
     * Sets the callback that runs when a connection has resumed a topic, after the missed publications
     * were sent to it.
     *
     * If `$complete` is false, publications are missing, because the position is too old, from before a
     * restart, or invalid. Nothing was replayed then, and the subscription begins now: send the client
     * the present state. `$messages` is the number of publications replayed. `$position` is that of the
     * last publication that the client has; it is empty, and `$complete` false, if the broker or the hub
     * of the workers could not be reached.
     *
     * @param (callable(Connection, string, bool, int, string): void)|null $callback
     *        `function (Connection $connection, string $topic, bool $complete, int $messages, string $position): void`.
     *        Replaces the previous callback; null removes it.
     *
     * @see Connection::resume()
     */
    public function onResume(?callable $callback): static {}

    /**
     * Sets the callback that runs when the first connection of a member joins a topic, or the last one
     * leaves it, on any worker or node. It runs in every worker: send to the connections of this worker,
     * and do not publish. `$data` is the argument of {@see Connection::join()}.
     *
     * @param (callable(string, string, bool, string): void)|null $callback
     *        `function (string $topic, string $member, bool $joined, string $data): void`.
     *        Replaces the previous callback; null removes it.
     *
     * @see Connection::join()
     */
    public function onPresence(?callable $callback): static {}

    /**
     * Sets the callback that runs when the connection to {@see Options::$broker} is made or lost, and
     * when an attempt to connect fails for another reason than the one before.
     *
     * Without the connection, topics work within the node, and publications for other nodes wait, up to
     * {@see Options::$brokerQueue} bytes. The callback runs in every worker. `$reason` names the broker
     * that is connected, or the error.
     *
     * @param (callable(bool, string): void)|null $callback
     *        `function (bool $connected, string $reason): void`.
     *        Replaces the previous callback; null removes it.
     */
    public function onBroker(?callable $callback): static {}

    /**
     * Sets the callback that runs when the server itself has answered a handshake or a plain request with
     * an error: because of a limit, the `Origin` header, or a malformed request. It does not run for
     * requests that {@see onUpgrade()} or {@see onRequest()} reject, nor for those that end before their
     * head is complete (400, 408, 431); {@see Options::$logger} gets both.
     *
     * The request was answered already and cannot be answered again. `$status` is that of the answer.
     * `$reason` is a sentence that names the option that decides, such as "The option origins does not
     * admit the origin of this request."; it contains nothing that the client has sent.
     *
     * At most 256 calls, and 1 MiB of request heads, wait for PHP; `refusedUnreported` in {@see stats()}
     * counts those left out.
     *
     * @param (callable(Request, int, string): void)|null $callback
     *        `function (Request $request, int $status, string $reason): void`.
     *        Replaces the previous callback; null removes it.
     */
    public function onRefused(?callable $callback): static {}

    /**
     * Binds, starts the I/O threads, and listens. Does nothing on a running server. After
     * {@see stop()} has finished, the server may be started again.
     *
     * Fork before, not after: see {@see ForkException}.
     *
     * @throws BindException If an address can't be listened on, or the directory of
     *         {@see Options::$staticFiles} can't be opened; nothing is left open.
     * @throws TlsException If a certificate or key can't be used.
     * @throws StateException If the server is still stopping, or has workers: {@see run()} starts those.
     */
    public function start(): void {}

    /**
     * Serves until {@see stop()}: waits for events, runs callbacks and timers. Calls
     * {@see start()} if need be.
     *
     * While idle it runs signal handlers (with `pcntl_async_signals(true)`, or those which
     * other extensions set) and honours `set_time_limit()`, within a tenth of a second. If
     * SIGINT or SIGTERM has no handler when run() is called, that signal stops the server like
     * {@see stop()}; a second one ends the grace period at once. Signals, timers and orders of a
     * master do not wait for more than the callback that is running.
     *
     * `exit()` and fatal errors in a callback close all sockets and end the script as usual.
     *
     * With {@see Options::$workers} other than 1 this process becomes the master: it listens, forks
     * the workers, which serve, and supervises them. SIGTERM and SIGINT stop all; SIGHUP replaces the
     * workers one after another by new processes that run the script, as it is on disk then, from its
     * top. In the master run() returns when all have ended; in a worker it does not return, and the
     * script ends as by `exit()`. See docs/workers.md.
     *
     * @throws BindException If an address can't be listened on.
     * @throws TlsException If a certificate or key can't be used.
     * @throws StateException If called from a callback, or elsewhere than in the CLI; with workers,
     *         also beside another running server of this process, or on another thread than the main one.
     * @throws WorkerException If no worker can be started.
     * @throws ThreadException If an I/O thread dies. A worker ends with status 1 instead, and is
     *         replaced.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function run(): void {}

    /**
     * Runs the callbacks of waiting events and of timers that are due, for use in another event loop:
     * call it when {@see stream()} is readable.
     *
     * ```php
     * $server->start();
     * Revolt\EventLoop::onReadable($server->stream(), function () use ($server): void {
     *     $server->poll();
     * });
     * ```
     *
     * A callback must not suspend the fiber that it runs in, as awaiting does in Amp. To wait, let it
     * start a fiber of its own, with `Amp\async()` for instance.
     *
     * @param float $timeout 0 to 1000000000 seconds to wait if no event is waiting; 0 returns at once.
     * @param int $maxEvents Most events to dispatch; the stream stays readable if more wait.
     *
     * @return int<0, max> Number of events and timers dispatched.
     *
     * @throws StateException If called from a callback, before {@see start()}, or with workers.
     * @throws ThreadException If an I/O thread has died.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If an argument is out of range.
     */
    public function poll(float $timeout = 0.0, int $maxEvents = 1024): int {}

    /**
     * A stream that is readable while events wait or timers are due, for `stream_select()` and
     * event loops. Never read from it and never close it: call {@see poll()}. It is the same
     * stream each time until the server is stopped; remove it from the loop once
     * {@see isRunning()} is false.
     *
     * @return resource
     *
     * @throws StateException Before {@see start()}, or with workers.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function stream() {}

    /**
     * Stops the server: accepts no more connections, closes all with 1001 (Going Away), and cuts those
     * left after the grace period. Messages already received are still delivered, and answers to them go
     * out before the close frame, which waits for them up to half of the grace period; on all other
     * connections send() returns false. Within the grace period, slow clients receive everything that was
     * sent before. Returns at once; the callbacks of the connections that end run as usual, then
     * {@see run()} returns. With {@see poll()}, keep calling it until {@see isRunning()} is false. Does
     * nothing on a server that does not run. With workers it stops all of them, whether the master or a
     * worker calls it.
     *
     * During the grace period, waiting messages are delivered, plain requests answered, and streamed
     * responses completed. After it each connection and each stream still gets its onClose; other
     * callbacks do not run any more, and messages that still wait count as `undelivered`
     * in {@see stats()}. A callback that is running is not interrupted.
     *
     * @param float $grace 0 to 1000000000 seconds; 0 cuts at once. If called again, the earlier end counts.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the grace period is out of range.
     */
    public function stop(float $grace = 5.0): void {}

    /**
     * Reads certificates and keys again after they were renewed. New connections use the new ones, open
     * connections continue. Does nothing on a server without {@see Tls}. It affects only the worker that calls it: with workers, use
     * {@see Tls::$reloadInterval}.
     *
     * ```php
     * pcntl_signal(SIGHUP, fn () => $server->reloadTls());
     * ```
     *
     * @throws TlsException If a file cannot be used; the certificates in use stay in use.
     * @throws StateException Before {@see start()}.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function reloadTls(): void {}

    /**
     * Serves a connection that the script has accepted by itself, with `stream_socket_accept()`
     * or `socket_accept()`, as if it had come to a listener: it begins with an HTTP request.
     *
     * The socket is duplicated: do not use it any more, except to close it. Nothing must have been read
     * from it, and PHP must not have begun TLS on it.
     *
     * @param resource|\Socket $socket A connected stream socket, TCP or Unix.
     * @param bool $tls It begins with a TLS handshake, by {@see Options::$tls}.
     *
     * @throws StateException Before {@see start()}, or in the master of workers.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If it is no such socket, its peer is gone, there are no settings for
     *         TLS, or the server is stopping.
     */
    public function adopt(mixed $socket, bool $tls = false): void {}

    /**
     * Number of this worker, from 1 to {@see Options::$workers}. A worker that replaces another has the
     * same number, and for a moment both exist. 1 while {@see run()} runs without workers; null
     * otherwise, and in the master.
     *
     * @return int<1, 64>|null
     */
    public function worker(): ?int {}

    /** Whether the server was started and {@see stop()} has not finished. */
    public function isRunning(): bool {}

    /**
     * Where the server listens, in the order given to the constructor, with the port that the
     * kernel chose: `ws://127.0.0.1:41873`, `wss://[::1]:8443`, `unix:///run/app.sock`.
     *
     * @return list<string> Empty when the server does not run.
     */
    public function addresses(): array {}

    /**
     * Number of connections between onOpen and onClose; with workers, of this worker.
     *
     * @return int<0, max>
     */
    public function count(): int {}

    /**
     * The open connections by id; with workers, of this worker. The array is a copy: connections may open
     * and close during an iteration.
     *
     * @return array<int, Connection>
     */
    public function connections(): array {}

    /** The open connection of this id, or null. */
    public function connection(int $id): ?Connection {}

    /**
     * Sends a message to all connections that have subscribed to the topic
     * ({@see Connection::subscribe()}), or to a pattern that matches it
     * ({@see Connection::subscribePattern()}), once each. The message is encoded once, and takes PHP the
     * same time for one subscriber as for thousands. {@see Options::$slowConsumer} applies to slow
     * subscribers, as in {@see Connection::send()}. Does nothing on a server that does not run.
     *
     * Returns at once, unless publications come faster than the I/O threads deliver them: when 256 of
     * them, or 8 MiB, wait for one thread, it blocks until that thread has taken them.
     *
     * The message goes to all workers, and with {@see Options::$broker} to all nodes. A failure to pass
     * it on is reported at once by an exception, a later one to {@see onError()} by an exception of the
     * same class. Publications to a topic of {@see Options::$history} are delivered once the hub has
     * given them a position, to the connections of this process too.
     *
     * @param string $topic 1 to 255 bytes of UTF-8; not a pattern.
     * @param string $payload UTF-8 unless binary.
     * @param Connection|null $except A connection to leave out, usually the sender.
     *
     * @throws PublishException If more than 64 MiB would wait for the other workers and nodes. The
     *         message says which recipients it has reached.
     * @throws InvalidPayload If a text message is not valid UTF-8.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the topic is not allowed.
     */
    public function publish(string $topic, string $payload, bool $binary = false, ?Connection $except = null): void {}

    /**
     * Sends a message to all connections, as {@see publish()} does.
     *
     * @param string $payload UTF-8 unless binary.
     * @param Connection|null $except A connection to leave out, usually the sender.
     *
     * @throws PublishException If more than 64 MiB would wait for the other workers and nodes.
     * @throws InvalidPayload If a text message is not valid UTF-8.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function broadcast(string $payload, bool $binary = false, ?Connection $except = null): void {}

    /**
     * Number of connections subscribed to exactly this topic, or to exactly this pattern; with workers, of
     * this worker. Subscriptions to patterns that match a topic do not count for it.
     *
     * @return int<0, max>
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the topic is not valid UTF-8.
     */
    public function subscriberCount(string $topic): int {}

    /**
     * Lists the members present in a topic, on all workers and nodes: see {@see Connection::join()}.
     *
     * @return list<array{member: string, data: string, connections: int<1, max>}> By name. `data` is
     *         that of the member's connection that joined last.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the topic is not allowed, as for {@see Connection::join()}.
     */
    public function presence(string $topic): array {}

    /**
     * Returns the counters of the server: totals since {@see start()}, or, where the description says "now",
     * current values.
     *
     * Connections and handshakes:
     * - `connections`: open WebSocket connections now
     * - `maxConnections`: most connections that may be open at a time
     * - `handshakes`: handshakes in progress now that count toward maxConnections
     * - `httpSockets`: sockets in use for HTTP now: handshakes, plain requests, and idle ones between requests
     * - `accepted`: sockets accepted
     * - `acceptErrors`: failed accept() calls, usually because the descriptor limit was reached
     * - `opened`: handshakes answered with 101
     * - `closed`: connections that ended after they were open
     * - `refusedConnections`: handshakes refused because of maxConnections (503)
     * - `refusedPerIp`: handshakes refused because of maxConnectionsPerIp (429)
     * - `refusedOrigin`: handshakes refused because of their Origin header (403)
     * - `rejected`: handshakes rejected by onUpgrade
     * - `badRequests`: malformed requests (400, 405, 426, 431, …)
     * - `handshakeTimeouts`: handshakes not complete within handshakeTimeout
     * - `maxHandshakes`: most sockets without a WebSocket that may be open at a time
     * - `handshakesDisplaced`: sockets without a WebSocket closed to make room for a new one
     * - `handshakesRefused`: sockets closed at once because of maxHandshakesPerIp
     * - `refusedUnreported`: refused requests for which onRefused was not called, because too many waited for PHP
     * - `tlsErrors`: failed TLS handshakes
     * - `tlsReloadErrors`: changed certificate files that could not be loaded
     * - `proxyErrors`: connections cut because of a PROXY header that is malformed or from an untrusted peer
     * - `logSuppressed`: log lines omitted because of the rate limit, or because too many waited for PHP
     *
     * Plain requests and streamed responses:
     * - `httpRequests`: plain HTTP requests answered
     * - `streams`: streamed responses open now
     * - `streamsBegun`: streamed responses begun, open ones included
     * - `streamsLost`: streamed responses that ended early because the client left, or took nothing for
     *   handshakeTimeout
     * - `streamsSlow`: streamed responses cut because the client read too slowly
     * - `streamsCut`: streamed responses cut by the script, or by the end of the server
     *
     * Messages and queues:
     * - `messagesIn`: complete messages received
     * - `bytesIn`: payload bytes of messages received
     * - `messagesOut`: messages queued for sending; a published message counts once for each subscriber
     * - `bytesOut`: bytes written to sockets after the handshake, framing included
     * - `pendingMessages`: received messages that wait for PHP now
     * - `pendingBytes`: payload bytes of pendingMessages
     * - `pendingTotal`: bytes of everything that waits for PHP now, as {@see Options::$maxPendingTotal} counts them
     * - `pendingFull`: times an I/O thread stopped reading because of maxPendingTotal
     * - `refusedPending`: handshakes and plain requests refused because of maxPendingTotal (503)
     * - `paused`: times a socket was not read because of its messages that waited for PHP
     * - `hostWaits`: times publish(), broadcast() or, after very many calls, send() blocked because an I/O thread
     *   was behind with deliveries, or join() or subscribe() because too much waited for the hub
     * - `waitingFrames`: frames that wait to be written to their sockets now
     * - `waitingBytes`: bytes that wait now on connections with waiting frames and on streamed responses, as
     *   bufferedAmount() counts them
     * - `slowDropped`: messages dropped because the peer read too slowly
     * - `undelivered`: messages received but not delivered: after close(), or after the grace period of a stop
     * - `undeliveredBytes`: payload bytes of undelivered messages
     * - `unsent`: frames not yet written when their connection ended
     *
     * Ends of connections:
     * - `slowClosed`: connections closed with 1013 because the peer read too slowly
     * - `floodClosed`: connections closed because of a flood of frames without content (1008; over HTTP/2
     *   ENHANCE_YOUR_CALM), or because the client reset too many requests
     * - `tooBig`: connections closed with 1009 because of a message larger than maxMessageSize
     * - `protocolErrors`: connections closed with 1002 or 1007 because the peer violated the protocol
     * - `abnormal`: connections that ended without a close frame
     * - `pings`: keep-alive pings sent
     * - `pingTimeouts`: connections ended because a ping was not answered in time
     * - `closeTimeouts`: connections cut because a close frame was not answered in time
     * - `closes`: number of connections ended with each close code, as onClose receives it; key 0 counts the
     *   codes beyond the first 64 that peers invent
     *
     * Topics, workers and brokers:
     * - `topics`: topics and patterns with at least one subscriber now
     * - `published`: calls of publish() and broadcast(), and publications by a {@see Publisher}
     * - `publishers`: connections to {@see Options::$publishSocket} now
     * - `socketPublished`: publications received on publishSocket
     * - `socketRefused`: requests and connections refused on publishSocket
     * - `busWaitingBytes`: bytes of publications that wait now for the hub, the process that connects the workers
     * - `busSent`: publications handed to the hub for other workers and nodes
     * - `busReceived`: publications received from the hub
     * - `busRefused`: publications refused because too much waited for the hub
     * - `busLostLinks`: times the connection to the hub was lost, and with it what others published meanwhile
     * - `busLost`: publications possibly lost with the connection to the hub: those that it had not confirmed
     * - `busCut`: workers' connections that the hub cut because the worker did not read
     * - `busErrors`: connections to the hub that were cut because of malformed data
     * - `unpublished`: publications that were accepted but that the hub or the broker could not pass on
     * - `brokerConnected`: 1 while the connection to the broker is up, otherwise 0
     * - `brokerWaitingBytes`: bytes of publications that wait for the broker now
     * - `brokerPublished`: publications that the broker has confirmed
     * - `brokerReceived`: publications received from the broker
     * - `brokerRefused`: publications refused because too much waited for the broker
     * - `brokerLost`: publications that were accepted but that the broker did not carry out
     * - `brokerDuplicates`: publications received from the broker a second time and ignored
     * - `brokerReconnects`: connections to the broker made after the first one
     * - `historyTopics`: topics whose history is in memory now
     * - `historyBytes`: bytes of the histories in memory now
     *
     * Callbacks:
     * - `callbacks`: number of calls and their total time in seconds, by kind: upgrade, open, message, close,
     *   drain, pong, request, timer, resume, presence, broker, refused, log; the time of onError counts toward
     *   the callback that failed
     * - `callbackErrors`: callbacks that ended with an exception
     *
     * docs/metrics.md recommends what to watch, and lists the names for Prometheus.
     *
     * In a worker, the counters are sums over all workers, including those that have ended. Two further keys
     * are present: `worker` is the number of this worker, and `workers` lists the counters of each running
     * worker, with its number under `worker`. The counters of other workers may be a second old.
     *
     * @return array{}|array{closes: array<int, int>, callbacks: array<string, array{calls: int,
     *         seconds: float}>, worker?: int, workers?: list<array<string, mixed>>, ...<string, int>}
     *         Empty before {@see start()} and in the master; after the stop, the last values.
     */
    public function stats(): array {}

    /**
     * Sets a timer that calls a callback once. Timers run within {@see run()} and {@see poll()}, and make
     * {@see stream()} readable when they are due. A timer that is set before run() runs in every worker.
     * Times are exact to about two milliseconds.
     *
     * @param float $seconds Delay in seconds, 0 to 1000000000; with 0 the timer is due at once.
     * @param callable(): void $callback
     *
     * @return int<1, max> Id of the timer, for {@see cancel()}.
     *
     * @throws \ValueError If the time is out of range.
     */
    public function after(float $seconds, callable $callback): int {}

    /**
     * Sets a timer that calls a callback periodically. The period does not drift; calls missed while another
     * callback was busy are skipped.
     *
     * @param float $seconds Period, and delay of the first call, in seconds, 0.001 to 1000000000.
     * @param callable(): void $callback
     *
     * @return int<1, max> Id of the timer, for {@see cancel()}.
     *
     * @throws \ValueError If the period is out of range.
     */
    public function every(float $seconds, callable $callback): int {}

    /**
     * Cancels a timer.
     *
     * @param int $timer Id from {@see after()} or {@see every()}.
     *
     * @return bool False if there is no such timer, because it has run or was cancelled.
     */
    public function cancel(int $timer): bool {}
}

/**
 * Limits, timeouts and policies of a server. Immutable; use named arguments.
 *
 * ```php
 * $options = new Sprocket\Options(
 *     maxMessageSize: 64 * 1024,
 *     origins: ['https://example.com'],
 * );
 * ```
 */
final class Options
{
    /**
     * Most WebSocket connections and streamed responses at a time; further ones get a 503. Null: as many as the
     * descriptor limit allows. A larger number is reduced to that limit, minus 64 descriptors that remain for
     * files of PHP.
     */
    public readonly ?int $maxConnections;

    /**
     * Most WebSocket connections and streamed responses of one client at a time; further ones get a 429. A client
     * is an IPv4 address or an IPv6 /64 network. 0: no limit.
     */
    public readonly int $maxConnectionsPerIp;

    /**
     * Maximum size of an incoming message, all fragments together, in bytes. A larger message closes the
     * connection with 1009.
     */
    public readonly int $maxMessageSize;

    /**
     * Maximum size of the head of an HTTP request in bytes. A larger head, or one with more than 1,024 headers, is
     * answered with 431. Over HTTP/2, each header counts 32 bytes more (RFC 9113 section 10.5.1).
     */
    public readonly int $maxHeaderSize;

    /** Maximum size of the body of a plain HTTP request in bytes. A larger body is answered with 413. */
    public readonly int $maxBodySize;

    /**
     * Maximum duration of a handshake in seconds, from the TCP connection until the handshake is answered: PROXY
     * header, TLS, request head and onUpgrade together. For a plain request it covers head, body and onRequest. A
     * further request on the same connection must begin within this time, and has the same time from its first
     * byte. While a client accepts at least 4 KiB of a response, or the rest of it, within this time, the response
     * may take as long as it needs.
     */
    public readonly float $handshakeTimeout;

    /** The server sends a ping when it has received nothing for this time, in seconds. 0: never. */
    public readonly float $pingInterval;

    /**
     * Time in seconds within which something must be received after such a ping; otherwise the connection ends
     * with 1006. A ping follows the data sent before it, so the timeout restarts while the peer accepts at least
     * 4 KiB of that data, or the rest of it, within this time.
     */
    public readonly float $pingTimeout;

    /**
     * Time in seconds that a peer has to answer a close frame before its socket is cut. A close frame follows the
     * data sent before it, so the timeout restarts while the peer accepts at least 4 KiB of that data, or the
     * rest of it, within this time. A peer with a slow link therefore loses nothing, and one that reads nothing is
     * cut.
     */
    public readonly float $closeTimeout;

    /**
     * Maximum number of bytes that may wait for one slow peer before {@see $slowConsumer} applies. A streamed
     * response is always cut.
     */
    public readonly int $sendBufferLimit;

    /** The policy for a peer that reads too slowly. */
    public readonly SlowConsumer $slowConsumer;

    /** Maximum number of messages of one connection that wait for PHP; at the limit its socket is not read. */
    public readonly int $maxPendingMessages;

    /** Maximum number of payload bytes of one connection that wait for PHP; at the limit its socket is not read. */
    public readonly int $maxPendingBytes;

    /**
     * Allowed values of the `Origin` header, in which browsers name the page that opens the connection (RFC 6455
     * section 10.2). Any other value is refused with 403, a malformed one with 400. Requests without `Origin`, which
     * do not come from browsers, are always allowed.
     *
     * - Null: the page must come from the host and port that the request names in `Host`. The scheme is not
     *   compared, because a proxy may hide it: if `Host` has no port, or 80 or 443, it stands for the default
     *   port of the page's scheme.
     * - `['*']`: any value; the header is not checked.
     * - `https://example.com`, `http://localhost:3000`, `capacitor://localhost`: this scheme, host and port.
     *   An omitted port is the default port of the scheme, on either side.
     * - `https://*.example.com`: all names below this one, with one or more labels, but not `example.com` itself.
     * - `example.com`, `*.example.com`: the same with any scheme, and with any port unless one is given.
     * - `file://` and `null`: sent by pages without a host, such as those from files and devices. Any site can
     *   make a browser send `null`, with a sandboxed frame.
     *
     * Host names are compared case-insensitively, and IPv6 addresses by value. A trailing dot makes a different
     * name. One trailing slash is ignored.
     *
     * @var list<string>|null
     */
    public readonly ?array $origins;

    /**
     * Subprotocols of the server, in order of preference; the first one that the client offers is chosen.
     *
     * @var list<string>
     */
    public readonly array $subprotocols;

    /** Whether clients that offer only unknown subprotocols are refused (400), instead of served without one. */
    public readonly bool $strictSubprotocols;

    /** Path that the I/O threads answer with 200, without PHP, such as `/healthz`. Null: none. */
    public readonly ?string $healthPath;

    /** Number of threads that serve sockets. One suffices for most servers, because PHP reaches its limit first. */
    public readonly int $ioThreads;

    /** Length of the kernel's queue of connections that have not been accepted yet (listen(2)). */
    public readonly int $backlog;

    /**
     * Proxies in front of the server, whose headers about the client are trusted: `X-Forwarded-For`, or without it
     * `Forwarded` (RFC 7239), for the client's address, which {@see $maxConnectionsPerIp} uses; `X-Forwarded-Proto`,
     * or `proto` of `Forwarded`, for {@see Request::isSecure()}. These headers are ignored from all other peers.
     *
     * If a header lists several addresses, the last one that is not itself a trusted proxy counts. A proxy that sets
     * only `Forwarded` must remove `X-Forwarded-For`, because that has precedence.
     *
     * @var list<string>
     */
    public readonly array $trustedProxies;

    /**
     * Path that the I/O threads answer, without PHP, with the counters of {@see Server::stats()} in the text format
     * of Prometheus, such as `/metrics`. Null: none. Do not expose it to the public.
     */
    public readonly ?string $metricsPath;

    /** Certificates and TLS settings of `wss://` addresses. */
    public readonly ?Tls $tls;

    /**
     * Compression of messages with clients that support permessage-deflate (RFC 7692), as browsers do. False:
     * never. True: with the defaults of {@see Compression}.
     */
    public readonly Compression|bool $compression;

    /**
     * Path of a Unix socket on which other processes of this machine publish: see {@see Publisher}. The I/O threads
     * serve it, even while PHP is busy. A stale socket file is replaced; a socket in use is an error. The file is
     * removed when the server ends. Null: none.
     */
    public readonly ?string $publishSocket;

    /**
     * Permissions of the file of {@see $publishSocket}. A process that can write to it can publish to every topic,
     * so by default only the user that runs the server can. `0660` adds the file's group, which is that of
     * the server process, or that of the directory if the directory has the setgid bit.
     */
    public readonly int $publishSocketMode;

    /**
     * Directory whose files the I/O threads serve for GET and HEAD requests, without PHP. {@see Server::onRequest()}
     * receives the requests that match no file; without that callback they are answered with 404. Intended for
     * demos and small pages: `/` and directories serve their `index.html`; ranges and all conditional requests
     * are supported; nothing is compressed.
     *
     * Nothing outside the directory is served: symbolic links are not followed. Two kinds of names are not served:
     * those that begin with a dot, except `.well-known`, and those that contain the extension of a script (`.php`,
     * `.php8`, `.phps`, `.phtml`, `.phar`, `.inc` and the like) anywhere, because a copy such as `a.php.bak` or
     * `a.php~` contains the same source. Null: none.
     */
    public readonly ?string $staticFiles;

    /**
     * Topics that keep their last publications, by name or pattern; the first entry that matches a topic applies.
     * Clients that reconnect receive the publications that they missed: see {@see Connection::resume()}. All
     * workers must have the same value.
     *
     * @var array<string, History>
     */
    public readonly array $history;

    /**
     * Address of a broker through which several machines share topics, history and presence:
     * `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` with TLS, `redis+unix:///PATH`,
     * `nats://[USER:PASSWORD@]HOST[:PORT]`, or `tls://…` for NATS with TLS. Null: none. The broker need not be up
     * when the server starts; {@see Server::onBroker()} reports the state of the connection. docs/brokers.md lists the
     * settings that may follow a `?`, and explains which messages may be lost.
     */
    public readonly ?string $broker;

    /**
     * Prefix of channels, subjects and keys at the broker, which keeps applications apart. For NATS, a trailing
     * colon becomes a dot.
     */
    public readonly string $brokerPrefix;

    /**
     * Maximum number of bytes of publications that wait while the broker is unreachable. Beyond it, publications do
     * not reach other nodes: {@see Server::onError()}, or the {@see Publisher} that made the publication, gets a
     * {@see PublishException} for each.
     */
    public readonly int $brokerQueue;

    /**
     * Number of processes that serve, for applications that need more than one core for PHP: see
     * {@see Server::run()}. 1: the script's own process serves. 0: one worker per core. Limits such as
     * {@see $maxConnections} and {@see $maxConnectionsPerIp} apply to each worker separately.
     */
    public readonly int $workers;

    /**
     * Number of handshakes, messages and plain requests after which a worker is replaced by a new one, as a remedy
     * for memory leaks. Its connections are closed with 1001. 0: never.
     */
    public readonly int $maxRequests;

    /** A worker is also replaced when its `memory_get_usage()` reaches this number of bytes. 0: never. */
    public readonly int $maxMemory;

    /**
     * Receives a line for each event that concerns an operator: start and stop, refused handshakes and requests
     * with the option that caused the refusal, connections closed because of a limit, the broker, workers,
     * certificates. Either a PSR-3 logger, recognized by its method `log()`, or a callable with the same
     * parameters:
     *
     * ```php
     * new Sprocket\Options(logger: function (string $level, string $message, array $context): void {
     *     error_log("$level: $message " . json_encode($context));
     * });
     * ```
     *
     * `$level` is one of `debug`, `info`, `notice`, `warning` and `error`. `$context` contains `event`, a stable
     * name such as `handshake.refused`, and, if an option caused the event, its name as `option`. Control
     * characters from clients are escaped in messages and context, and long texts are truncated. The logger runs on
     * PHP's thread, between two events. At most ten lines of one kind are written per second; one further line
     * counts the suppressed ones. An exception thrown by the logger goes to {@see Server::onError()}.
     *
     * Null: no lines, except those that the master of workers writes to standard error. If a logger is set, it
     * receives those as well, instead of standard error. docs/logging.md lists the events.
     *
     * @var object|callable|null
     */
    public readonly mixed $logger;

    /**
     * Maximum number of bytes that wait for PHP, over all connections: payloads, request heads, bodies, input that
     * {@see $maxPendingMessages} and {@see $maxPendingBytes} hold back, and about 200 bytes for each event. At the
     * limit no socket is read, and handshakes and plain requests are answered with 503, until half of it is free
     * again. Bodies may occupy half of the limit, or a single one {@see $maxBodySize}. Requests over HTTP/2 count as
     * bodies until their responses have been sent. Input of HTTP/2 connections for streams that cannot accept it
     * yet may occupy another eighth; beyond that, these connections are not read. Applies to each worker separately.
     */
    public readonly int $maxPendingTotal;

    /**
     * Most sockets without a WebSocket at a time: those before and during their handshake, and those that carry
     * plain HTTP, including idle ones. At the limit, a new socket displaces one that has waited for its peer for at
     * least 100 ms: preferably one without a complete request head, and among these the longest waiting one of the
     * address with the most sockets. A socket to which the server owes a response is never displaced; if there are
     * no others, new connections wait in the kernel's queue ({@see $backlog}). Null: 4096, or as many as the
     * descriptor limit allows.
     */
    public readonly ?int $maxHandshakes;

    /**
     * Most sockets without a WebSocket of one client at a time; further ones are closed without an answer. A client
     * is an IPv4 address or an IPv6 /64 network. Peers in {@see $trustedProxies} are not limited; with
     * `?proxyProtocol` the address in the PROXY header counts. 0: no limit.
     */
    public readonly int $maxHandshakesPerIp;

    /**
     * Every argument is optional and sets the property of the same name.
     *
     * @param int|null $maxConnections At least 1, or null.
     * @param int $maxConnectionsPerIp At least 0.
     * @param int $maxMessageSize Bytes, 1 to 2147483647.
     * @param int $maxHeaderSize Bytes, 8192 to 1048576.
     * @param int $maxBodySize Bytes, 0 to 2147483647.
     * @param float $handshakeTimeout Seconds, 0.001 to 86400.
     * @param float $pingInterval Seconds, 0.001 to 86400, or 0 for no pings.
     * @param float $pingTimeout Seconds, 0.001 to 86400.
     * @param float $closeTimeout Seconds, 0.001 to 86400.
     * @param int $sendBufferLimit Bytes, 1 to 2147483647.
     * @param int $maxPendingMessages 1 to 1000000.
     * @param int $maxPendingBytes Bytes, 1 to 2147483647.
     * @param list<string>|null $origins Origins such as `https://example.com`, `https://*.example.com`,
     *        `http://localhost:3000`, `file://` or `null`, and bare hosts such as `example.com`; null, or
     *        `['*']`.
     * @param list<string> $subprotocols Tokens (RFC 9110 section 5.6.2), each once.
     * @param string|null $healthPath Begins with a slash; null for none.
     * @param int $ioThreads 1 to 64.
     * @param int $backlog 1 to 65535.
     * @param list<string> $trustedProxies Addresses (`10.0.0.1`), networks (`10.0.0.0/8`,
     *        `fd00::/8`), and `unix:` for the peers of Unix sockets.
     * @param string|null $metricsPath Begins with a slash; null for none.
     * @param Tls|null $tls Required if an address is `wss://` or has the setting `?tls`.
     * @param Compression|bool $compression True for the defaults of {@see Compression}.
     * @param string|null $publishSocket Absolute path of at most 107 bytes, with or without `unix://`.
     * @param int $publishSocketMode 0 to 0777.
     * @param string|null $staticFiles The absolute path of an existing directory.
     * @param array<string, History> $history By topics and patterns.
     * @param string|null $broker Null for none.
     * @param string $brokerPrefix At most 100 bytes. For Redis UTF-8 without control characters; for NATS
     *        at least 1 byte: tokens separated by dots, without whitespace, `*`, `>` or `%`.
     * @param int $brokerQueue Bytes, 65536 to 2147483647.
     * @param int $workers 0 to 64.
     * @param int $maxRequests At least 0.
     * @param int $maxMemory Bytes, at least 0.
     * @param object|callable|null $logger A PSR-3 logger, or
     *        `function (string $level, string $message, array $context): void`.
     * @param int $maxPendingTotal Bytes, at least 1048576.
     * @param int|null $maxHandshakes At least 1, or null.
     * @param int $maxHandshakesPerIp At least 0.
     *
     * @throws InvalidOption If a value is not allowed.
     */
    public function __construct(
        ?int $maxConnections = null,
        int $maxConnectionsPerIp = 0,
        int $maxMessageSize = 1048576,
        int $maxHeaderSize = 16384,
        int $maxBodySize = 1048576,
        float $handshakeTimeout = 10.0,
        float $pingInterval = 25.0,
        float $pingTimeout = 20.0,
        float $closeTimeout = 3.0,
        int $sendBufferLimit = 1048576,
        SlowConsumer $slowConsumer = SlowConsumer::Close,
        int $maxPendingMessages = 256,
        int $maxPendingBytes = 4194304,
        ?array $origins = null,
        array $subprotocols = [],
        bool $strictSubprotocols = false,
        ?string $healthPath = null,
        int $ioThreads = 1,
        int $backlog = 4096,
        array $trustedProxies = [],
        ?string $metricsPath = null,
        ?Tls $tls = null,
        Compression|bool $compression = false,
        ?string $publishSocket = null,
        int $publishSocketMode = 0600,
        ?string $staticFiles = null,
        array $history = [],
        ?string $broker = null,
        string $brokerPrefix = 'sprocket:',
        int $brokerQueue = 16777216,
        int $workers = 1,
        int $maxRequests = 0,
        int $maxMemory = 0,
        mixed $logger = null,
        int $maxPendingTotal = 67108864,
        ?int $maxHandshakes = null,
        int $maxHandshakesPerIp = 0,
    ) {}
}

/**
 * Limits on the publications that a topic keeps for clients that reconnect. Immutable; use named arguments.
 * The oldest publications are dropped as soon as one of the limits is reached.
 *
 * ```php
 * $options = new Sprocket\Options(history: [
 *     'room.>' => new Sprocket\History(messages: 50, seconds: 600.0, stamp: '%position%'),
 * ]);
 * // …
 * $server->publish('room.7', json_encode(['text' => $text, 'position' => '%position%']));
 * ```
 *
 * Publications are kept in memory, at most 256 MiB for all topics together, until the server ends; with
 * {@see Options::$broker}, the broker keeps them. See docs/history.md.
 */
final class History
{
    /** Maximum number of publications kept for each topic. */
    public readonly int $messages;

    /** Time in seconds for which a publication is kept; null: until newer ones displace it. */
    public readonly ?float $seconds;

    /** Maximum number of payload bytes kept for each topic. */
    public readonly int $bytes;

    /**
     * Text whose first occurrence in a text message is replaced by the position of the publication, which
     * clients return for {@see Connection::resume()}. A position consists of letters, digits and `-`.
     * Null: none.
     */
    public readonly ?string $stamp;

    /**
     * Every argument is optional and sets the property of the same name.
     *
     * @param int $messages 1 to 1000000.
     * @param float|null $seconds 0.001 to 31622400, or null.
     * @param int $bytes 1 to 2147483647.
     * @param string|null $stamp 1 to 64 bytes of UTF-8, or null.
     *
     * @throws InvalidOption If a value is not allowed.
     */
    public function __construct(
        int $messages = 100,
        ?float $seconds = 300.0,
        int $bytes = 1048576,
        ?string $stamp = null,
    ) {}
}

/**
 * Settings for the compression of messages with clients that offer permessage-deflate (RFC 7692). Immutable;
 * use named arguments. Without {@see Options::$compression} a server sends and receives uncompressed messages.
 *
 * By default all connections of an I/O thread share one compressor, and each message is compressed
 * independently, so an idle connection needs almost no additional memory. {@see Options::$maxMessageSize} limits
 * the decompressed size of a message: decompression of a larger one stops, and the connection is closed with
 * 1009.
 *
 * ```php
 * $options = new Sprocket\Options(compression: new Sprocket\Compression(threshold: 4096, level: 2));
 * ```
 */
final class Compression
{
    /** Size in bytes from which messages are sent compressed. Small messages hardly shrink. */
    public readonly int $threshold;

    /** Compression level of sent messages, 1 (fastest) to 9 (smallest). The client chooses its own level. */
    public readonly int $level;

    /**
     * Base-2 logarithm of the server's compression window in bytes (RFC 7692 section 7.1.2.1). A client may request
     * a smaller one.
     */
    public readonly int $serverMaxWindowBits;

    /**
     * Base-2 logarithm of the client's compression window in bytes, for clients that allow the server to choose it
     * (RFC 7692 section 7.1.2.2). A smaller window saves memory in the client, not in the server.
     */
    public readonly int $clientMaxWindowBits;

    /**
     * Whether each connection keeps its windows from message to message (RFC 7692 section 7.1.1). Messages that
     * resemble earlier ones then become much smaller. Costs up to 420 KiB per connection, from its first
     * compressed message on.
     */
    public readonly bool $contextTakeover;

    /**
     * Maximum memory of all windows that {@see $contextTakeover} keeps, in bytes. Beyond it, further connections
     * compress each message independently.
     */
    public readonly int $maxContextMemory;

    /**
     * Every argument is optional and sets the property of the same name.
     *
     * @param int $threshold Bytes, 0 to 2147483647.
     * @param int $level 1 to 9.
     * @param int $serverMaxWindowBits 9 to 15.
     * @param int $clientMaxWindowBits 9 to 15.
     * @param bool $contextTakeover Keep the windows of each connection.
     * @param int $maxContextMemory Bytes, at least 0.
     *
     * @throws InvalidOption If a value is not allowed.
     */
    public function __construct(
        int $threshold = 1024,
        int $level = 1,
        int $serverMaxWindowBits = 15,
        int $clientMaxWindowBits = 15,
        bool $contextTakeover = false,
        int $maxContextMemory = 67108864,
    ) {}
}

/**
 * Certificates and settings of a server for TLS 1.2 and 1.3 (rustls). Immutable.
 *
 * {@see Server::start()} and {@see Server::reloadTls()} read the files, which are in PEM format. Only secure
 * cipher suites are offered. TLS handshakes run on the I/O threads, even while PHP is busy.
 *
 * ```php
 * $server = new Sprocket\Server('wss://0.0.0.0:8443', new Sprocket\Options(
 *     tls: new Sprocket\Tls('/etc/ssl/chat/fullchain.pem', '/etc/ssl/chat/privkey.pem'),
 * ));
 * ```
 */
final class Tls
{
    /** Path of the file with the certificate, followed by the intermediate certificates. */
    public readonly string $certificate;

    /** Path of the file with the private key; null if it is in the file of the certificate. */
    public readonly ?string $key;

    /**
     * Certificates of further hosts, selected by the name that the client requests (SNI, RFC 6066 section 3).
     *
     * @var array<string, Tls>
     */
    public readonly array $hosts;

    /**
     * Path of the file with the CA certificates that verify client certificates. Null: clients are not asked for
     * a certificate.
     */
    public readonly ?string $clientCa;

    /** Whether clients without a certificate are refused; see {@see Request::clientCertificate()}. */
    public readonly bool $clientRequired;

    /** Oldest TLS version that the server accepts. */
    public readonly string $minVersion;

    /**
     * Interval in seconds at which the files are checked for changes, which are then loaded as by
     * {@see Server::reloadTls()}. `tlsReloadErrors` in {@see Server::stats()} counts changes that cannot be
     * loaded. 0: never.
     */
    public readonly float $reloadInterval;

    /**
     * Whether HTTP/2 is offered in addition to HTTP/1.1. A browser that has loaded a page over HTTP/2 opens its
     * WebSockets on the same connection (RFC 8441). Their handshake is a `CONNECT` request instead of `GET`; nothing
     * else differs. A connection carries up to 128 requests and WebSockets at a time, each of which counts toward
     * the limits.
     */
    public readonly bool $http2;

    /**
     * Checks the arguments. {@see Server::start()} reads the files.
     *
     * @param string $certificate Path of a PEM file. This certificate serves clients that request no host, or
     *        one that is not in `$hosts`.
     * @param string|null $key Path of a PEM file in PKCS#8, encrypted or not, PKCS#1, or SEC1.
     * @param string|null $passphrase Passphrase of an encrypted key. Not available as a property.
     * @param array<string, Tls> $hosts Objects with only a certificate, a key and a passphrase, by host name
     *        (`chat.example.com`, `*.example.com`).
     * @param string|null $clientCa Path of a PEM file.
     * @param bool $clientRequired Refuse clients without a certificate. Without effect unless `$clientCa` is set.
     * @param string $minVersion `1.2` or `1.3`.
     * @param float $reloadInterval Seconds, 0.01 to 86400, or 0.
     * @param bool $http2 Offer HTTP/2.
     *
     * @throws InvalidOption If a value is not allowed.
     */
    public function __construct(
        string $certificate,
        ?string $key = null,
        ?string $passphrase = null,
        array $hosts = [],
        ?string $clientCa = null,
        bool $clientRequired = true,
        string $minVersion = '1.2',
        float $reloadInterval = 0.0,
        bool $http2 = true,
    ) {}
}

/**
 * The policy for a peer that reads so slowly that more than {@see Options::$sendBufferLimit} bytes wait for it.
 *
 * ```php
 * // On a live map, the next coordinates replace those that were dropped.
 * $options = new Sprocket\Options(slowConsumer: Sprocket\SlowConsumer::Drop);
 * ```
 */
enum SlowConsumer: string
{
    /** The connection is closed with 1013 (Try Again Later). */
    case Close = 'close';

    /** The new message is dropped and counted, and send() returns false. */
    case Drop = 'drop';
}

/**
 * An open WebSocket connection. The server creates it, and passes the same object to every callback.
 *
 * The object may outlive the connection and the server: then it is not open, and send() returns false. Two
 * connections are never equal, so an object can serve as a key in `SplObjectStorage` and `WeakMap`.
 *
 * ```php
 * $server->onOpen(function (Sprocket\Connection $c): void {
 *     $c->data = ['since' => time()];
 *     $c->send("Welcome, number {$c->id}");
 * });
 * ```
 */
final class Connection
{
    /** Number of the connection: unique in the process, and never reused. */
    public readonly int $id;

    /** The request of the handshake. */
    public readonly Request $request;

    /** IP address of the peer; empty on a Unix socket. */
    public readonly string $remoteAddress;

    /** Port of the peer; 0 on a Unix socket. */
    public readonly int $remotePort;

    /** The subprotocol selected in the handshake, or null. */
    public readonly ?string $subprotocol;

    /** Any value, for use by the application. Initially the `$data` of {@see Handshake::accept()}. */
    public mixed $data = null;

    private function __construct() {}

    /**
     * Sends a message. Never blocks: data that the peer cannot accept yet is queued, up to
     * {@see Options::$sendBufferLimit}; beyond that, {@see Options::$slowConsumer} decides.
     *
     * Messages sent by callbacks leave together: when no more events wait, and at the latest some 10 ms
     * later, even while a callback is still running. A message sent outside callbacks leaves at once.
     *
     * @param string $payload UTF-8 unless binary (RFC 6455 section 5.6).
     * @param bool $binary Send a binary message, of any bytes.
     *
     * @return bool False if the connection is closed or closing, the server stops, or the message was
     *         dropped. If true, the message is sent before the close frame, whichever side closes next.
     *
     * @throws InvalidPayload If a text message is not valid UTF-8.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function send(string $payload, bool $binary = false): bool {}

    /**
     * Sends a ping; the answer goes to {@see Server::onPong()}. Not needed to notice dead
     * peers: see {@see Options::$pingInterval}.
     *
     * @param string $payload At most 125 bytes (RFC 6455 section 5.5).
     *
     * @return bool False if the connection is closed or closing.
     *
     * @throws \ValueError If the payload is too long.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function ping(string $payload = ''): bool {}

    /**
     * Sends an unsolicited pong, a heartbeat that the peer does not answer (RFC 6455 section 5.5.3). The
     * extension answers the peer's pings itself.
     *
     * @param string $payload At most 125 bytes.
     *
     * @return bool False if the connection is closed or closing.
     *
     * @throws \ValueError If the payload is too long.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function pong(string $payload = ''): bool {}

    /**
     * Starts the closing handshake (RFC 6455 section 7.1.2). The close frame follows everything sent before
     * it; {@see Options::$closeTimeout} starts when the frame has reached the peer, and restarts while the
     * peer accepts earlier data. No further messages are delivered. onClose runs when the peer has answered
     * or the timeout has passed. Does nothing on a connection that is closed or closing.
     *
     * @param int $code 1000 to 1003, 1007 to 1014, or 3000 to 4999 (RFC 6455 section 7.4).
     * @param string $reason UTF-8, at most 123 bytes.
     *
     * @throws \ValueError If the code may not be sent, or the reason is too long or not UTF-8.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function close(int $code = 1000, string $reason = ''): void {}

    /**
     * Cuts the connection without a closing handshake; onClose follows with 1006. Does nothing
     * on a closed connection.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function terminate(): void {}

    /**
     * Subscribes to topics: publications of {@see Server::publish()} to any of them are sent to this
     * connection. A topic exists while it has subscribers. The subscriptions of a connection end with it;
     * does nothing on a closed one. Subscribing again changes nothing.
     *
     * A name always denotes one topic, never a pattern, so a name built from client input reaches at most one
     * topic. Validate such input all the same: a client that may choose any name may read any topic.
     *
     * @param string ...$topics Each 1 to 255 bytes of UTF-8, without a token `*` or `>` (see
     *        {@see subscribePattern()} for tokens).
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If a name is not allowed; those before it are subscribed.
     */
    public function subscribe(string ...$topics): void {}

    /**
     * Reverts {@see subscribe()}. Topics that are not subscribed are ignored.
     *
     * @param string ...$topics As for {@see subscribe()}.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If a name is not allowed; those before it are unsubscribed.
     */
    public function unsubscribe(string ...$topics): void {}

    /**
     * Subscribes to all topics that match a pattern, future ones included. A message is delivered once,
     * however many subscriptions of the connection match its topic.
     *
     * A pattern consists of tokens separated by dots: `*` matches one token, and `>` at the end matches one
     * or more. `room.*` matches `room.7`, and `room.>` also matches `room.7.typing`. A pattern without
     * either matches the topic of that name.
     *
     * Never put client input into a pattern: with `*` and `>` a client could read all topics.
     *
     * @param string ...$patterns Each 1 to 255 bytes of UTF-8, with at most 16 tokens if it contains `*` or `>`.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If a pattern is not allowed; those before it are subscribed.
     */
    public function subscribePattern(string ...$patterns): void {}

    /**
     * Reverts {@see subscribePattern()}. Patterns that are not subscribed are ignored: only the same pattern
     * ends a subscription, not one that covers it.
     *
     * @param string ...$patterns As for {@see subscribePattern()}.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If a pattern is not allowed; those before it are unsubscribed.
     */
    public function unsubscribePattern(string ...$patterns): void {}

    /**
     * Subscribes to a topic with {@see Options::$history} and replays its publications after a position,
     * in order, before newer ones. {@see Server::onResume()} gets the result.
     *
     * A position is an opaque string that identifies a publication in the history of a topic. Clients
     * receive positions through {@see History::$stamp} and from onResume, keep the last one, and
     * return it when they reconnect. An empty position means "from now on": a new client starts with it.
     * Positions from clients need no validation: with one that the topic never had, nothing is replayed and
     * `$complete` is false. One of more than 255 bytes is not looked up and counts as such.
     *
     * The replay of one topic at a time may exceed {@see Options::$sendBufferLimit}. The replay of the next
     * topic begins when the previous one has been written; {@see unsubscribe()} cancels a replay that has
     * not begun.
     *
     * If the hub cannot be reached, the request waits for it. Once 64 MiB of requests wait (in each
     * process), further ones fail at once: `$complete` is false, the position empty.
     *
     * Does nothing on a closed connection.
     *
     * @param string $topic Not a pattern.
     * @param string $position Position of the client's last publication, or empty.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the name is not allowed, or the topic keeps no history.
     */
    public function resume(string $topic, string $position = ''): void {}

    /**
     * Makes a member present in a topic, until {@see leave()} or the end of the connection. Several
     * connections may join as the same member, which is present as long as one of them is. Joining again
     * replaces the member or the data. Presence is independent of subscriptions.
     *
     * Does nothing on a closed connection.
     *
     * @param string $topic Not a pattern.
     * @param string $member Name of the member, such as a user id: 1 to 255 bytes of UTF-8.
     * @param string $data Information about the member, such as JSON: at most 65536 bytes.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If a name or the data is not allowed.
     */
    public function join(string $topic, string $member, string $data = ''): void {}

    /**
     * Reverts {@see join()}. Does nothing if the connection has not joined.
     *
     * @param string $topic Not a pattern.
     *
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the topic is not allowed.
     */
    public function leave(string $topic): void {}

    /**
     * The topics that the connection has subscribed to by name, with {@see subscribe()} or
     * {@see resume()}. Patterns are in {@see patterns()}.
     *
     * @return list<string> Sorted.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function topics(): array {}

    /**
     * The patterns that the connection has subscribed to, with {@see subscribePattern()}.
     *
     * @return list<string> Sorted.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function patterns(): array {}

    /** Returns false once close() or terminate() was called, or the end of the connection was detected. */
    public function isOpen(): bool {}

    /**
     * Returns the number of bytes that send() has accepted and the kernel has not, framing included.
     *
     * @return int<0, max>
     */
    public function bufferedAmount(): int {}
}

/**
 * A handshake that waits for the decision of {@see Server::onUpgrade()}.
 *
 * Answer it in the callback, or keep the object and answer from a later callback, such as a timer's, within
 * {@see Options::$handshakeTimeout}; after that, the client gets a 503. If the object is destroyed before it
 * was answered, the client gets a 500.
 *
 * ```php
 * $server->onUpgrade(function (Sprocket\Handshake $h): void {
 *     $user = find_user($h->request->cookies()['session'] ?? '');
 *     $user === null ? $h->reject(401) : $h->accept(data: $user);
 * });
 * ```
 */
final class Handshake
{
    /** The request of the client. */
    public readonly Request $request;

    private function __construct() {}

    /**
     * Accepts the handshake with the status 101. onOpen runs next.
     *
     * @param string|null $subprotocol One of {@see Request::subprotocols()}; null leaves the
     *        choice to {@see Options::$subprotocols}.
     * @param array<string, string|list<string>> $headers Further headers of the response.
     * @param mixed $data Initial value of {@see Connection::$data}.
     *
     * @return bool False if it is too late: the client has disconnected or closed its side, or the timeout
     *         has passed.
     *
     * @throws StateException If the handshake has already been answered.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the client did not offer the subprotocol, or a header is not allowed.
     */
    public function accept(?string $subprotocol = null, array $headers = [], mixed $data = null): bool {}

    /**
     * Rejects with an HTTP response.
     *
     * @param int $status 200 to 599.
     * @param string $body Plain text unless a `Content-Type` header says otherwise; if empty,
     *        the reason phrase of the status is sent (RFC 9110 section 15): `Conflict` for 409.
     * @param array<string, string|list<string>> $headers Further headers of the response. A
     *        `Sec-WebSocket-Protocol` may list the subprotocols of the application.
     *
     * @return bool False if it is too late: the client has disconnected, or the timeout has passed.
     *
     * @throws StateException If the handshake has already been answered.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the status or a header is not allowed.
     */
    public function reject(int $status = 403, string $body = '', array $headers = []): bool {}

    /** Returns whether the client still waits for an answer. */
    public function isPending(): bool {}
}

/**
 * An HTTP request: that of a handshake, or a plain one for {@see Server::onRequest()}. Immutable; parsed on
 * demand.
 *
 * ```php
 * $room = $connection->request->query()['room'] ?? 'lobby';
 * $agent = $connection->request->header('User-Agent');
 * ```
 */
final class Request
{
    private function __construct() {}

    /** Returns the method as sent: `GET`, `POST`, …. A handshake has `GET`, over HTTP/2 `CONNECT` (RFC 8441). */
    public function method(): string {}

    /** Returns the version of HTTP: `1.0`, `1.1` or `2`. */
    public function protocolVersion(): string {}

    /** Returns path and query as sent: `/caf%C3%A9?room=1`. */
    public function target(): string {}

    /** Returns the target before the question mark, still percent-encoded: `/caf%C3%A9`. */
    public function path(): string {}

    /**
     * Returns the parameters of the query, decoded and nested as in `$_GET`.
     *
     * @return array<int|string, mixed>
     */
    public function query(): array {}

    /** Returns the target after the question mark, still percent-encoded; empty if there is none. */
    public function queryString(): string {}

    /**
     * Returns the value of a header, or null if the request does not have it. Repeated headers are joined
     * with `, ` (RFC 9110 section 5.3), `Cookie` headers with `; `.
     *
     * @param string $name Name of the header; case does not matter.
     */
    public function header(string $name): ?string {}

    /**
     * Returns all headers, with names in lower case. Repeated headers are joined as by {@see header()}.
     *
     * @return array<string, string>
     */
    public function headers(): array {}

    /**
     * Returns the cookies: names as sent, values percent-decoded as in `$_COOKIE`. If a name is repeated, its
     * first cookie counts. At most 1,000 cookies are returned.
     *
     * @return array<int|string, string>
     */
    public function cookies(): array {}

    /**
     * Returns the IP address of the client; empty on a Unix socket. Behind a proxy in
     * {@see Options::$trustedProxies}, this is the address that the proxy reports.
     */
    public function remoteAddress(): string {}

    /** Returns the port of the client; 0 on a Unix socket, or if a proxy does not report it. */
    public function remotePort(): int {}

    /** Returns the IP address that the client connected to; empty on a Unix socket. */
    public function localAddress(): string {}

    /** Returns the port that the client connected to; 0 on a Unix socket. */
    public function localPort(): int {}

    /** Returns `ws` or `wss` for a handshake, `http` or `https` for a plain request. */
    public function scheme(): string {}

    /** Returns whether the client's connection, to the server or to a trusted proxy, is encrypted. */
    public function isSecure(): bool {}

    /**
     * Returns the subprotocols that the client offers, in its order of preference (RFC 6455 section 4.1).
     *
     * @return list<string>
     */
    public function subprotocols(): array {}

    /**
     * Returns the client's certificate in PEM, for `openssl_x509_parse()`, or null if the client sent none.
     * The certificate is verified: a CA of {@see Tls::$clientCa} issued it, it has not expired, and the client
     * has proved that it holds the key.
     */
    public function clientCertificate(): ?string {}

    /** Returns the body of a plain request; empty for a handshake. */
    public function body(): string {}

    /**
     * Answers a plain request, within the callback of {@see Server::onRequest()} or later. That callback must
     * return null.
     *
     * ```php
     * $server->onRequest(function (Sprocket\Request $r) use ($server): ?Sprocket\Response {
     *     $server->after(0.5, fn () => $r->respond(new Sprocket\Response(200, 'half a second later')));
     *     return null;
     * });
     * ```
     *
     * @return bool False if it is too late: the client has disconnected, or {@see Options::$handshakeTimeout}
     *         has passed. A client that has closed only its own side of the connection still gets the answer.
     *
     * @throws StateException If the request has already been answered, or is that of a handshake.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function respond(Response $response): bool {}

    /**
     * Answers a plain request with a body that is written in pieces, such as a large file or server-sent
     * events. Status and headers are sent at once. See {@see ResponseStream} for an example.
     *
     * The body is chunked over HTTP/1.1, ends with the connection over HTTP/1.0, and is sent in DATA
     * frames over HTTP/2. A response to HEAD, and one with the status 204 or 304, has no body: its stream is
     * not open, and {@see ResponseStream::onClose()} runs.
     *
     * Each stream counts toward {@see Options::$maxConnections} and {@see Options::$maxConnectionsPerIp}. If
     * one of these limits is reached, or the client no longer waits, the stream closes at once.
     *
     * @param int $status 200 to 599.
     * @param array<string, string|list<string>> $headers As for {@see Response}; without a
     *        `Content-Type` the body is `text/plain; charset=utf-8`.
     *
     * @throws StateException If the request has already been answered, or is that of a handshake.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the status or a header is not allowed.
     */
    public function stream(int $status = 200, array $headers = []): ResponseStream {}
}

/**
 * A response whose body is written in pieces, from {@see Request::stream()}.
 *
 * ```php
 * $server->onRequest(function (Sprocket\Request $r): ?Sprocket\Response {
 *     $file = fopen('/srv/film.mp4', 'r');
 *     $more = function (Sprocket\ResponseStream $s) use ($file): void {
 *         // Writes as much as fits. onDrain continues when the socket has accepted all of it.
 *         while ($s->isOpen() && $s->bufferedAmount() < 262144) {
 *             feof($file) ? $s->end() : $s->write(fread($file, 65536));
 *         }
 *     };
 *     $stream = $r->stream(200, ['Content-Type' => 'video/mp4']);
 *     $stream->onDrain($more)->onClose(fn () => fclose($file));
 *     $more($stream);
 *     return null;
 * });
 * ```
 *
 * The server keeps a reference to a stream that has a callback until the stream closes. A stream without
 * references is cut as by {@see terminate()}, because its response is incomplete. Call {@see end()} on each
 * stream.
 */
final class ResponseStream
{
    /** The request that the stream answers. */
    public readonly Request $request;

    private function __construct() {}

    /**
     * Appends a piece to the body. Never blocks. Pieces are sent at the same times as messages: see
     * {@see Connection::send()}.
     *
     * If more than {@see Options::$sendBufferLimit} bytes would wait for the client, the response is cut,
     * regardless of {@see Options::$slowConsumer}: no piece of a body can be dropped. A piece larger than the
     * limit is accepted if nothing waits before it. Use {@see bufferedAmount()} and {@see onDrain()} to write
     * no faster than the client reads. The response is also cut if the client accepts nothing of the waiting
     * data for {@see Options::$handshakeTimeout}.
     *
     * @param string $data Any bytes.
     *
     * @return bool False if the stream is not open, or this call has cut it.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function write(string $data): bool {}

    /**
     * Ends the body. Everything written before is still delivered.
     *
     * @param string $data A last piece of the body, as for {@see write()}.
     *
     * @return bool False if the stream is not open, or this call has cut it, as {@see write()} may.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function end(string $data = ''): bool {}

    /**
     * Cuts the response and discards waiting data. The client can tell that the response is incomplete: over
     * HTTP/1.1 the last chunk is missing, over HTTP/1.0 the connection is reset, and over HTTP/2 the stream is
     * reset. Does nothing if the stream has closed.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function terminate(): void {}

    /**
     * Sets the callback that runs each time the socket has accepted everything that was waiting. Continue
     * large bodies here.
     *
     * @param (callable(ResponseStream): mixed)|null $callback Replaces the previous callback; null removes it.
     */
    public function onDrain(?callable $callback): static {}

    /**
     * Sets the callback that runs once when the stream has closed: because the whole response was handed to the
     * client's connection, because the client left or read too slowly, or because {@see terminate()}, the end
     * of {@see Server::stop()}, or a connection limit has cut it. No callback of the stream runs afterwards; one
     * that is set later never runs.
     *
     * @param (callable(ResponseStream, bool): mixed)|null $callback
     *        `function (ResponseStream $stream, bool $complete): void`; `$complete` is true if the socket
     *        has accepted the whole response, including its end. Replaces the previous callback; null removes it.
     */
    public function onClose(?callable $callback): static {}

    /** Returns whether {@see write()} can succeed: false after {@see end()}, and once the client has left. */
    public function isOpen(): bool {}

    /**
     * Returns the number of body bytes that were written and that the socket has not accepted yet. Over
     * HTTP/2, up to 64 KiB more may wait in the connection.
     */
    public function bufferedAmount(): int {}
}

/**
 * The response to a plain HTTP request: the return value of the callback of {@see Server::onRequest()}, or the
 * argument of {@see Request::respond()}. Immutable.
 *
 * ```php
 * $server->onRequest(fn (Sprocket\Request $r) => match ($r->path()) {
 *     '/' => new Sprocket\Response(200, $page, ['Content-Type' => 'text/html; charset=utf-8']),
 *     default => new Sprocket\Response(404, 'Not Found'),
 * });
 * ```
 */
final class Response
{
    /** Status code (RFC 9110 section 15). */
    public readonly int $status;

    /** The complete body. */
    public readonly string $body;

    /**
     * Headers as passed to the constructor.
     *
     * @var array<string, string|list<string>>
     */
    public readonly array $headers;

    /**
     * Creates a response. The server itself sets the headers that describe the connection and the framing of
     * the body, such as `Content-Length` and `Connection`. Of these, only `Connection: close` is allowed in
     * `$headers`; it ends the connection after the response. A 426 gets `Upgrade: websocket`. Over HTTP/2,
     * headers of the connection are omitted (RFC 9113 section 8.2.2). A body without a `Content-Type` is sent
     * as `text/plain; charset=utf-8`.
     *
     * @param int $status 200 to 599.
     * @param string $body The complete body, any bytes.
     * @param array<string, string|list<string>> $headers One value, or a list of values, by header name.
     *
     * @throws \ValueError If the status or a header is not allowed.
     */
    public function __construct(int $status = 200, string $body = '', array $headers = []) {}
}

/**
 * Publishes to the topics of servers in other processes, for instance from a web request (php-fpm, mod_php), a
 * cron job, or a queue worker. Publications go either to one server on the same machine, which needs
 * {@see Options::$publishSocket}, or through a broker (Redis or NATS) to all servers connected to it.
 *
 * The connection is opened on first use. The PHP process keeps it beyond the end of the request, and shares
 * it between all Publisher objects with the same address and prefix. After a restart of the server, the next
 * publication reconnects. After a fork, the child opens a connection of its own.
 *
 * ```php
 * $publisher = new Sprocket\Publisher('unix:///run/chat.sock');
 * $publisher->publish('room.42', json_encode(['text' => $text]));
 *
 * $publisher = new Sprocket\Publisher('rediss://chat:secret@redis.example.com', timeout: 0.5);
 * ```
 */
final class Publisher
{
    /** The address as passed to the constructor, including a password. */
    public readonly string $address;

    /** Maximum duration of one {@see publish()}, in seconds. */
    public readonly float $timeout;

    /** Prefix of the broker's channels (Redis) or subjects (NATS), like {@see Options::$brokerPrefix}. */
    public readonly string $prefix;

    /**
     * Checks the arguments. The connection is opened by the first {@see publish()}.
     *
     * @param string $address `unix:///path/to.sock`, the {@see Options::$publishSocket} of a server; or a
     *        broker: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` (TLS),
     *        `redis+unix:///PATH`, `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST…]`, `tls://…` (NATS
     *        with TLS). With TLS, `?ca=/PATH` names a PEM file of CA certificates that replaces the system's,
     *        and `cert=` and `key=` name the PEM files of a client certificate and its key.
     * @param float $timeout Maximum duration of one {@see publish()} in seconds, including the time to
     *        connect: 0.001 to 86400. The lookup of a host name is not included; the system's resolver limits
     *        it.
     * @param string $prefix The {@see Options::$brokerPrefix} of the servers, at most 100 bytes. Ignored for
     *        `unix://`.
     *
     * @throws InvalidOption If an argument is not allowed; its `$option` is `address`, `timeout` or
     *         `prefix`. The message does not contain the password.
     */
    public function __construct(string $address, float $timeout = 1.0, string $prefix = 'sprocket:') {}

    /**
     * Publishes a message to all subscribers of a topic, like {@see Server::publish()}. With `unix://` it
     * returns when the server has handed the message to all connections that are subscribed now; with a
     * broker, when the broker has passed the message on to all servers connected to it. Messages of one process
     * arrive in the order in which they were published.
     *
     * The history of a topic ({@see Options::$history}) records publications made through `unix://`, but not
     * those made through a broker.
     *
     * @param string $topic 1 to 255 bytes of UTF-8; not a pattern.
     * @param string $payload UTF-8 unless binary. At most {@see Options::$sendBufferLimit} bytes with
     *        `unix://`; a broker and the nodes behind it have limits of their own.
     * @param bool $binary Publish a binary message, of any bytes.
     *
     * @throws PublishException If the connection fails, the server or the broker refuses the message, or the
     *         timeout passes; or if {@see Options::$brokerQueue} of the server is full: the message then says
     *         which recipients the publication has reached.
     * @throws InvalidPayload If a text message is not valid UTF-8.
     * @throws \ValueError If the topic is not allowed.
     */
    public function publish(string $topic, string $payload, bool $binary = false): void {}
}

/**
 * The interface of all exception classes of the extension. Invalid arguments throw `\TypeError` and
 * `\ValueError`, as functions of PHP itself do.
 *
 * ```php
 * try {
 *     $server->run();
 * } catch (Sprocket\Exception $e) {
 *     fwrite(STDERR, $e->getMessage() . "\n");
 * }
 * ```
 */
interface Exception extends \Throwable
{
}

/** Thrown for an option or an address that is not allowed. The message names it, its value, and the allowed values. */
final class InvalidOption extends \InvalidArgumentException implements Exception
{
    /** Name of the option or constructor argument, such as `maxMessageSize` or `listen`. */
    public readonly string $option;

    /** The value that was refused. */
    public readonly mixed $value;

    /** Description of the allowed values. */
    public readonly string $allowed;
}

/** Thrown for a text message that is not valid UTF-8. Send it as binary, or convert it. */
final class InvalidPayload extends \InvalidArgumentException implements Exception
{
}

/** Thrown if the server cannot listen. The message names the address and the reason; the code is the errno. */
final class BindException extends \RuntimeException implements Exception
{
}

/**
 * Thrown in a child process for a server that its parent has started: threads do not survive a fork. The message
 * names both process ids. Create a server in the child, or fork before {@see Server::start()}.
 */
final class ForkException extends \RuntimeException implements Exception
{
}

/** Thrown for a call that the current state does not allow, such as a nested run() or a second answer to a request. */
final class StateException extends \LogicException implements Exception
{
}

/**
 * Thrown if an I/O thread of the server has died of a panic, which is a bug of this extension. Please report it
 * with the panic message from standard error. The server has ended: all connections were cut, and onClose ran
 * for each with 1006. {@see Server::start()} starts the server again.
 */
final class ThreadException extends \RuntimeException implements Exception
{
}

/**
 * Thrown if certificates or keys cannot be used: a file is missing or malformed, the passphrase is wrong, or the
 * key does not match the certificate. The message names the file and the reason.
 */
final class TlsException extends \RuntimeException implements Exception
{
}

/**
 * Thrown if workers cannot be started, or if this process cannot become one. The message names the reason; the
 * worker's own output is on standard error.
 */
final class WorkerException extends \RuntimeException implements Exception
{
}

/**
 * Thrown if a message could not be published, or not to all recipients. A {@see Publisher} throws it if it cannot
 * connect, the server refuses the message, or the timeout passes: the message of the exception names the address
 * and the reason, and the code is the errno if connecting failed. {@see Server::publish()} throws it, and
 * {@see Server::onError()} receives it, if other workers or nodes do not get the message.
 *
 * ```php
 * try {
 *     $publisher->publish('news', $json);
 * } catch (Sprocket\PublishException $e) {
 *     error_log(($e->uncertain ? 'Perhaps not published: ' : 'Not published: ') . $e->getMessage());
 * }
 * ```
 */
final class PublishException extends \RuntimeException implements Exception
{
    /**
     * Whether the message may have reached some recipients, so that publishing it again could deliver it
     * twice. True if the server or broker did not answer after it had received the message, if the message was
     * delivered on this worker or machine but not on others, or if a connection broke and it is unknown how far
     * the message came. False if the message was not published.
     */
    public readonly bool $uncertain;
}
