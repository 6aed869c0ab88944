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
     * At most 256 calls, and 1 MiB of request heads, wait for PHP; `refusedUntold` in {@see stats()}
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
     * connections continue. It affects only the worker that calls it: with workers, use
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
     * Counters, totals since {@see start()} unless said otherwise.
     *
     * - `connections`: open WebSocket connections now
     * - `maxConnections`: most that may be open at a time
     * - `handshakes`: handshakes now in progress that have their place among maxConnections
     * - `httpSockets`: sockets that speak HTTP now: handshakes, plain requests, idle ones
     * - `accepted`: sockets accepted
     * - `acceptErrors`: failed accept() calls, usually because the descriptor limit was reached
     * - `opened`: handshakes answered with 101
     * - `closed`: connections that ended after they were open
     * - `refusedConnections`: handshakes refused for maxConnections (503)
     * - `refusedPerIp`: handshakes refused for maxConnectionsPerIp (429)
     * - `refusedOrigin`: handshakes refused for their Origin (403)
     * - `rejected`: handshakes rejected by onUpgrade
     * - `badRequests`: malformed requests (400, 405, 426, 431, …)
     * - `handshakeTimeouts`: handshakes not complete within handshakeTimeout
     * - `maxHandshakes`: most sockets without a WebSocket that may be open at a time
     * - `handshakesDisplaced`: sockets without a WebSocket closed to make room for a newcomer
     * - `handshakesRefused`: sockets closed at once for maxHandshakesPerIp
     * - `httpRequests`: plain HTTP requests answered
     * - `streams`: streamed responses that are open now
     * - `streamsBegun`: responses streamed, those open now included
     * - `streamsLost`: streamed responses that ended early because the client left, or took nothing
     *   for too long
     * - `streamsSlow`: streamed responses cut because the client reads too slowly
     * - `streamsCut`: streamed responses cut by the script, or by the end of the server
     * - `messagesIn`: messages received
     * - `messagesOut`: messages queued for sending; a published one counts once for each subscriber
     * - `pendingMessages`: messages received that wait for PHP now
     * - `pendingBytes`: payload bytes of these
     * - `pendingTotal`: bytes of everything that waits for PHP now, as {@see Options::$maxPendingTotal}
     *   counts them
     * - `pendingFull`: times an I/O thread stopped reading because of maxPendingTotal
     * - `refusedPending`: handshakes and plain requests refused for maxPendingTotal (503)
     * - `waitingFrames`: frames that wait to be written to their sockets now
     * - `waitingBytes`: bytes that wait on these connections and on streamed responses, as
     *   bufferedAmount() counts them
     * - `topics`: topics and patterns with at least one subscriber now
     * - `published`: calls of publish() and broadcast(), and publications by {@see Publisher}
     * - `publishers`: connections to {@see Options::$publishSocket} now
     * - `socketPublished`: publications that came by that socket
     * - `socketRefused`: requests and connections that were refused on it
     * - `bytesIn`: payload bytes of messages received
     * - `bytesOut`: bytes written to sockets after the handshake, framing included
     * - `pings`: keep-alive pings sent
     * - `pingTimeouts`: connections ended because a ping was not answered in time
     * - `closeTimeouts`: connections cut because a close frame was not answered in time
     * - `slowClosed`: connections closed with 1013 for reading too slowly
     * - `floodClosed`: connections closed for a flood of frames that carry nothing (1008; over HTTP/2
     *   ENHANCE_YOUR_CALM), or for requests taken back in numbers
     * - `slowDropped`: messages dropped because the peer reads too slowly
     * - `undelivered`: messages received but not delivered: after close(), or after the grace period
     *   of a stop
     * - `undeliveredBytes`: payload bytes of these
     * - `unsent`: frames that still waited to be written when their connection ended
     * - `tooBig`: connections closed with 1009 for a message over maxMessageSize
     * - `protocolErrors`: connections closed with 1002 or 1007 for what the peer did
     * - `abnormal`: connections that ended without a close frame
     * - `paused`: times a socket was not read because its messages waited for PHP
     * - `hostWaits`: times PHP had to wait in `publish()` or `broadcast()` because an I/O thread had
     *   more to deliver than it got done
     * - `callbackErrors`: callbacks that ended with an exception
     * - `tlsErrors`: TLS handshakes that failed
     * - `tlsReloadErrors`: changes of certificate files that could not be taken over
     * - `proxyErrors`: connections cut for a PROXY header that is malformed, or comes from a peer
     *   that is not trusted
     * - `logSuppressed`: lines left out of the log because too many of their kind came, or too many
     *   waited for PHP
     * - `refusedUntold`: refused requests that onRefused was not called for, because too many waited
     *   for PHP
     * - `busWaitingBytes`: bytes of publications that wait for the hub now
     * - `busSent`: publications handed to the hub for other workers and nodes
     * - `busReceived`: publications that came from the hub
     * - `busRefused`: publications refused because too much waited for the hub
     * - `busLostLinks`: times the connection to the hub was lost, and what others published meanwhile
     * - `busLost`: own publications, at most, that the hub had not dealt with when that happened
     * - `busCut`: workers whose connection the hub has cut because they did not read
     * - `busErrors`: connections to the hub that were ended for bytes that make no sense
     * - `unpublished`: publications that were accepted, and could not be passed on
     * - `brokerConnected`: 1 while the connection to the broker is up
     * - `brokerWaitingBytes`: bytes of publications that wait for the broker now
     * - `brokerPublished`: publications that it has confirmed
     * - `brokerReceived`: publications that came from it
     * - `brokerRefused`: publications refused because too much waited for it
     * - `brokerLost`: publications that were accepted, and that it did not carry out
     * - `brokerDuplicates`: publications that came from it a second time, and were left out
     * - `brokerReconnects`: connections to it made after the first one
     * - `historyTopics`: topics whose history is kept in memory now
     * - `historyBytes`: bytes of these histories now
     * - `closes`: ends by the code that onClose gets; under 0 the codes that peers have made up
     *   beyond 64 different ones
     * - `callbacks`: calls and seconds of callbacks, by kind: upgrade, open, message, close, drain,
     *   pong, request, timer, resume, presence, broker, refused, log; the time of onError is part of what failed
     *
     * docs/metrics.md says what to watch, and what they are called for Prometheus.
     *
     * In a worker these are sums over all workers, those that have ended included, and there are
     * two more: the number of this worker under the key worker, and under workers a list with the
     * counters of each running one, with its own number as worker. Those of others may be
     * a second old. Empty in the master.
     *
     * @return array{}|array{closes: array<int, int>, callbacks: array<string, array{calls: int,
     *         seconds: float}>, worker?: int, workers?: list<array<string, mixed>>, ...<string, int>}
     *         Empty before {@see start()}; the last reading after the stop.
     */
    public function stats(): array {}

    /**
     * Runs a callback once. Timers run while {@see run()} or {@see poll()} does; they make
     * {@see stream()} readable when they are due. Those set before run() run in every worker.
     *
     * @param float $seconds From now, 0 to 1000000000; 0 is the next turn.
     * @param callable(): void $callback
     *
     * @return int<1, max> For {@see cancel()}.
     *
     * @throws \ValueError If the time is out of range.
     */
    public function after(float $seconds, callable $callback): int {}

    /**
     * Runs a callback periodically. The period does not drift; calls missed while another callback was
     * busy are skipped.
     *
     * @param float $seconds Period, and time to the first call, 0.001 to 1000000000.
     * @param callable(): void $callback
     *
     * @return int<1, max> For {@see cancel()}.
     *
     * @throws \ValueError If the period is out of range.
     */
    public function every(float $seconds, callable $callback): int {}

    /**
     * Cancels a timer.
     *
     * @return bool False if there is no such timer: it ran already, or was cancelled.
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
     * WebSocket connections and streamed responses at once; further ones get a 503. Null: as many as
     * the descriptor limit allows. A larger number is reduced to that, so that PHP keeps 64 descriptors
     * for files of its own.
     */
    public readonly ?int $maxConnections;

    /**
     * The same from one IP address, of IPv6 from one network of 64 bits; further ones get a 429. 0: no
     * limit.
     */
    public readonly int $maxConnectionsPerIp;

    /** Bytes of one incoming message over all its fragments; a larger one closes with 1009. */
    public readonly int $maxMessageSize;

    /**
     * Bytes of the head of an HTTP request; a larger one is answered with 431, and so is one of more
     * than 1,024 headers. Over HTTP/2 each header counts 32 bytes more (RFC 9113 section 10.5.1).
     */
    public readonly int $maxHeaderSize;

    /** Bytes of the body of a plain HTTP request; a larger one is answered with 413. */
    public readonly int $maxBodySize;

    /**
     * Seconds from the TCP connection to the end of the handshake: PROXY header, TLS, head and
     * onUpgrade together; for a plain request head, body and onRequest. A further request on the same
     * connection has as many from its first byte, and must begin within as many. A client that takes at
     * least 4 KiB of a response in this time, or the rest of it, gets as long as it needs.
     */
    public readonly float $handshakeTimeout;

    /** Seconds without anything received until the server sends a ping. 0: never. */
    public readonly float $pingInterval;

    /**
     * Seconds after such a ping within which something must be received; else the connection ends with
     * 1006. A ping waits behind what was sent before it: a peer that takes at least 4 KiB of that
     * within this time, or the rest of it, gets it anew.
     */
    public readonly float $pingTimeout;

    /**
     * Seconds that a peer has to answer a close frame before the socket is cut. A close frame waits
     * behind what was sent before it: a peer that takes at least 4 KiB of that within this time, or
     * the rest of it, gets it anew. So a slow link loses nothing, and a peer that takes nothing
     * is cut.
     */
    public readonly float $closeTimeout;

    /**
     * Bytes that may wait for one slow peer before {@see $slowConsumer} acts. A streamed response is
     * cut in any case.
     */
    public readonly int $sendBufferLimit;

    /** The policy for a peer that reads too slowly. */
    public readonly SlowConsumer $slowConsumer;

    /** Messages of one connection that may wait for PHP before its socket is no longer read. */
    public readonly int $maxPendingMessages;

    /** Bytes of one connection that may wait for PHP before its socket is no longer read. */
    public readonly int $maxPendingBytes;

    /**
     * Admitted values of the `Origin` header, in which browsers name the page that they act for. Any other
     * value is refused with 403, a malformed one with 400. Requests without Origin, which are not
     * from browsers, always pass.
     *
     * - Null: the page must come from the host and port that the request names as `Host`. The scheme is
     *   not compared, since a proxy may hide it: without a port, and with 80 or 443, `Host` stands
     *   for the default port of the page's scheme.
     * - `['*']`: any value; the header is not checked.
     * - `https://example.com`, `http://localhost:3000`, `capacitor://localhost`: this scheme, host and
     *   port. A port that is left out is the default of the scheme, on either side.
     * - `https://*.example.com`: all names below this one, with one label or more, but not
     *   `example.com` itself.
     * - `example.com`, `*.example.com`: the same with any scheme, and any port unless one is given.
     * - `file://` and `null`: sent by pages without a host, such as those of files and devices. Any
     *   site can make a browser send `null`, by a sandboxed frame.
     *
     * Hosts are compared without regard to case, IPv6 addresses by value; a dot at the end makes another
     * name. One slash behind an origin is ignored.
     *
     * @var list<string>|null
     */
    public readonly ?array $origins;

    /**
     * Subprotocols of the server, most wanted first; the first one that the client offers is chosen.
     *
     * @var list<string>
     */
    public readonly array $subprotocols;

    /** Whether clients that offer only unknown subprotocols are refused (400) rather than served without one. */
    public readonly bool $strictSubprotocols;

    /** Path that is answered with 200 without asking PHP, such as `/healthz`. Null: none. */
    public readonly ?string $healthPath;

    /** Threads that serve sockets. One suffices for most servers: PHP is the bottleneck long before it. */
    public readonly int $ioThreads;

    /** Length of the kernel's queue of connections that are not accepted yet. */
    public readonly int $backlog;

    /**
     * Proxies in front of the server, whose headers about the client are trusted: `X-Forwarded-For` (or,
     * without it, `Forwarded`) for the client's address and so for
     * {@see $maxConnectionsPerIp}; `X-Forwarded-Proto` (or `proto` of `Forwarded`) for
     * {@see Request::isSecure()}. From other peers these headers are ignored.
     *
     * With several addresses, the last one that is not itself a trusted proxy counts. A proxy that
     * sets `Forwarded` alone must remove `X-Forwarded-For`, which has precedence.
     *
     * @var list<string>
     */
    public readonly array $trustedProxies;

    /**
     * Path that is answered with the counters of {@see Server::stats()} in the text format of
     * Prometheus, without asking PHP, such as `/metrics`. Null: none. Keep it private.
     */
    public readonly ?string $metricsPath;

    /** Certificates for `wss://` addresses. */
    public readonly ?Tls $tls;

    /**
     * Compression of messages with clients that support it, as browsers do (permessage-deflate, RFC 7692).
     * False: never. True: with the defaults of {@see Compression}.
     */
    public readonly Compression|bool $compression;

    /**
     * Path of a Unix socket on which other processes of this machine publish: see
     * {@see Publisher}. It is served by the I/O threads, also while PHP is busy. A stale file is
     * replaced, a live one is an error; the file goes with the server. Null: none.
     */
    public readonly ?string $publishSocket;

    /**
     * Permissions of that socket's file. A process that can write to it can publish to every topic: the
     * default is the user that runs the server. `0660` lets its group in, which the file gets
     * from the server process, or from its directory if that has the setgid bit.
     */
    public readonly int $publishSocketMode;

    /**
     * Directory whose files answer GET and HEAD requests without PHP. {@see Server::onRequest()} gets
     * requests that match no file; without that callback they are answered with 404. For demos and small
     * pages: `/` and folders serve their `index.html`, ranges and all conditional requests are honoured,
     * nothing is compressed.
     *
     * Nothing outside of the directory is reached: symbolic links in it are not followed. Names
     * that begin with a dot (but `.well-known`), and those with an extension of scripts (`.php`,
     * `.php8`, `.phps`, `.phtml`, `.phar`, `.inc` and the like) at any place, are not served: a copy
     * such as `a.php.bak` or `a.php~` holds the same source. Null: none.
     */
    public readonly ?string $staticFiles;

    /**
     * Topics that keep their last publications, by names or patterns; the first one that matches a topic
     * counts. Clients that reconnect get the publications that they missed: see
     * {@see Connection::resume()}. All workers must have the same.
     *
     * @var array<string, History>
     */
    public readonly array $history;

    /**
     * Address of a broker by which several machines share topics, history and presence:
     * `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` with TLS,
     * `redis+unix:///PATH`, `nats://[USER:PASSWORD@]HOST[:PORT]`, or `tls://…` for NATS with TLS.
     * Null: none. {@see Server::onBroker()} reports its state. It need not be up when the server starts.
     * docs/brokers.md lists the settings that may follow a `?`, and what may be lost.
     */
    public readonly ?string $broker;

    /**
     * Prefix of channels, subjects and keys in the broker, which keeps applications apart. For
     * NATS a colon at its end becomes a dot.
     */
    public readonly string $brokerPrefix;

    /**
     * Bytes of publications that wait while the broker is away. Further publications do not reach other
     * nodes: {@see Server::onError()}, or the {@see Publisher} that made it, gets a
     * {@see PublishException} for each.
     */
    public readonly int $brokerQueue;

    /**
     * Processes that serve, for more than one core's worth of PHP: see {@see Server::run()}. 1: the
     * script's process serves itself. 0: one worker for each core. Limits such as
     * {@see $maxConnections} and {@see $maxConnectionsPerIp} count in each worker for itself.
     */
    public readonly int $workers;

    /**
     * Handshakes, messages and plain requests after which a worker is replaced by a new one, as a remedy
     * for memory leaks. Its connections are closed with 1001. 0: never.
     */
    public readonly int $maxRequests;

    /** Bytes of `memory_get_usage()` at which a worker is replaced likewise. 0: never. */
    public readonly int $maxMemory;

    /**
     * Receives a line for each event that concerns an operator: start and stop, refused handshakes and
     * requests with the option that decides, connections closed by a limit, the broker, workers,
     * certificates. A PSR-3 logger, recognised by its method `log()`, or a callable with the same
     * parameters:
     *
     * ```php
     * new Sprocket\Options(logger: function (string $level, string $message, array $context): void {
     *     error_log("$level: $message " . json_encode($context));
     * });
     * ```
     *
     * `$level` is one of `debug`, `info`, `notice`, `warning` and `error`. `$context` has `event`, a
     * stable name such as `handshake.refused`, and `option`, the option that decides, if one does.
     * Control characters that a client has sent are escaped in both, and long texts are cut. It runs
     * on PHP's thread, between two events. Within a second at most ten lines of one kind are
     * written; one line counts the others. An exception goes to {@see Server::onError()}.
     *
     * Null: no lines, except those that the master of workers writes to standard error. With a
     * logger, the logger gets those instead. docs/logging.md lists the events.
     *
     * @var object|callable|null
     */
    public readonly mixed $logger;

    /**
     * Bytes of everything that may wait for PHP, of all connections together: payloads, request heads,
     * bodies, input that {@see $maxPendingMessages} and {@see $maxPendingBytes} hold back, and some
     * 200 bytes for each event. Beyond it no socket is read, and handshakes and plain requests are
     * answered with 503, until half of it is free again. Bodies may take half of it, or a single one
     * {@see $maxBodySize}. Requests over HTTP/2 count as bodies until their responses have been sent.
     * Input that HTTP/2 connections have read for streams that do not want it yet may take another
     * eighth; beyond it these connections are not read. Counts in each worker for itself.
     */
    public readonly int $maxPendingTotal;

    /**
     * Sockets without a WebSocket at once: those before and in their handshake, and those that speak
     * plain HTTP, idle ones included. Beyond it a newcomer takes the place of a socket that has waited
     * for its peer for 100 ms at least: first one without a whole request head, and of these the one
     * that has waited longest of the address that holds most. A socket to which the server owes an
     * answer is never displaced; while there are only such, newcomers wait in the kernel's queue
     * ({@see $backlog}). Null: 4096, or as many as the descriptor limit allows.
     */
    public readonly ?int $maxHandshakes;

    /**
     * The same from one IP address, of IPv6 from one network of 64 bits; further ones are closed
     * without an answer. Peers in {@see $trustedProxies} don't count; with `?proxyProtocol` it is the
     * address in the header that counts. 0: no limit.
     */
    public readonly int $maxHandshakesPerIp;

    /**
     * Every argument is optional and has the name of its property.
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
     * @param Tls|null $tls Needed where an address is `wss://`, or says `?tls`.
     * @param Compression|bool $compression True for the defaults of {@see Compression}.
     * @param string|null $publishSocket Absolute, at most 107 bytes; `unix://` may stand before it.
     * @param int $publishSocketMode 0 to 0777.
     * @param string|null $staticFiles The absolute path of an existing directory.
     * @param array<string, History> $history By topics and patterns.
     * @param string|null $broker Null for none.
     * @param string $brokerPrefix At most 100 bytes. For Redis UTF-8 without control characters; for NATS
     *        at least 1 byte: tokens separated by dots, without blanks, `*`, `>` and `%`.
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
 * The publications that a topic keeps for clients that come back. Immutable; use named arguments.
 * The oldest publications are dropped when the first of the limits is reached.
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
    /** Most publications that are kept. */
    public readonly int $messages;

    /** Seconds for which each is kept; null: until newer ones take its place. */
    public readonly ?float $seconds;

    /** Most payload bytes that are kept. */
    public readonly int $bytes;

    /**
     * Text whose first occurrence in a text message is replaced by the position of the publication, which
     * clients return for {@see Connection::resume()}. A position consists of letters, digits and `-`.
     * Null: none.
     */
    public readonly ?string $stamp;

    /**
     * Every argument is optional and has the name of its property.
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
 * How messages are compressed with clients that offer permessage-deflate (RFC 7692). Immutable; use
 * named arguments. A server without it sends and receives plain messages.
 *
 * By default all connections of an I/O thread share one codec, and each message stands for itself:
 * an idle connection costs next to nothing more than without compression. {@see Options::$maxMessageSize}
 * limits a message as it is when inflated; a larger one closes with 1009, and is not inflated further.
 *
 * ```php
 * $options = new Sprocket\Options(compression: new Sprocket\Compression(threshold: 4096, level: 2));
 * ```
 */
final class Compression
{
    /** Bytes of a message from which on it is sent compressed; small ones hardly shrink. */
    public readonly int $threshold;

    /** 1 (fastest) to 9 (smallest), for messages sent. The client chooses its own level. */
    public readonly int $level;

    /** Base-2 logarithm of the window in which the server looks for repetitions. A client may ask for a smaller one. */
    public readonly int $serverMaxWindowBits;

    /** The same for clients, as far as they can be told. It saves memory there, not in the server. */
    public readonly int $clientMaxWindowBits;

    /**
     * Keep the windows of each connection from message to message, so that messages that resemble
     * earlier ones become much smaller. It costs up to 420 KiB a connection, from its first
     * compressed message on.
     */
    public readonly bool $contextTakeover;

    /**
     * Bytes of all windows that are kept by {@see $contextTakeover}. Connections beyond it are
     * compressed without.
     */
    public readonly int $maxContextMemory;

    /**
     * Every argument is optional and has the name of its property.
     *
     * @param int $threshold Bytes, 0 to 2147483647.
     * @param int $level 1 to 9.
     * @param int $serverMaxWindowBits 9 to 15.
     * @param int $clientMaxWindowBits 9 to 15.
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
 * Certificates of a server that speaks TLS (1.2 and 1.3, by rustls). Immutable.
 *
 * {@see Server::start()} and {@see Server::reloadTls()} read the files, which are PEM. Only secure cipher
 * suites are offered. Handshakes run on the I/O threads, also while PHP is busy.
 *
 * ```php
 * $server = new Sprocket\Server('wss://0.0.0.0:8443', new Sprocket\Options(
 *     tls: new Sprocket\Tls('/etc/ssl/chat/fullchain.pem', '/etc/ssl/chat/privkey.pem'),
 * ));
 * ```
 */
final class Tls
{
    /** File of the certificate, followed by the intermediate certificates. */
    public readonly string $certificate;

    /** File of the key; null: it is in the file of the certificate. */
    public readonly ?string $key;

    /**
     * Certificates of further hosts, chosen by the name that the client asks for (SNI).
     *
     * @var array<string, Tls>
     */
    public readonly array $hosts;

    /** File of the CA certificates that verify client certificates; null: clients are not asked for any. */
    public readonly ?string $clientCa;

    /** Whether clients without a certificate are refused; see {@see Request::clientCertificate()}. */
    public readonly bool $clientRequired;

    /** Oldest TLS version that is accepted. */
    public readonly string $minVersion;

    /**
     * Seconds between checks of the files: changed ones are loaded as by {@see Server::reloadTls()}. A
     * change that cannot be used is counted in `tlsReloadErrors`.
     * 0: never.
     */
    public readonly float $reloadInterval;

    /**
     * Whether HTTP/2 is offered beside HTTP/1.1. A browser that has fetched a page over it opens
     * its WebSockets on the same connection (RFC 8441): their handshake is `CONNECT` instead of
     * GET, and everything else is the same. A connection carries up to 128 requests and WebSockets
     * at once, each of which counts for the limits.
     */
    public readonly bool $http2;

    /**
     * @param string $certificate Path of a PEM file. Clients that name no host, or one that is not
     *        in `$hosts`, get this one.
     * @param string|null $key Path of a PEM file: PKCS#8, also encrypted, or PKCS#1 or SEC1.
     * @param string|null $passphrase Decrypts an encrypted key. It is not a property.
     * @param array<string, Tls> $hosts Host names (`chat.example.com`, `*.example.com`) to objects
     *        that have only a certificate, a key and a passphrase.
     * @param string|null $clientCa Path of a PEM file.
     * @param bool $clientRequired Only with `$clientCa`.
     * @param string $minVersion `1.2` or `1.3`.
     * @param float $reloadInterval Seconds, 0.01 to 86400, or 0.
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
 * The policy for a peer for which more than {@see Options::$sendBufferLimit} bytes wait.
 *
 * ```php
 * // A live map: the next position supersedes one that was dropped.
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
 * An open WebSocket connection. Made by the server; the same object in every callback.
 *
 * The object may be kept after the connection, or its server, has ended: then it is not open, and send()
 * returns false. Two connections are never equal, and it is a good key for `SplObjectStorage` and `WeakMap`.
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
    /** Number of the connection, unique in the process and never used again. */
    public readonly int $id;

    /** The request of the handshake. */
    public readonly Request $request;

    /** IP address of the peer; empty on a Unix socket. */
    public readonly string $remoteAddress;

    /** Port of the peer; 0 on a Unix socket. */
    public readonly int $remotePort;

    /** The subprotocol agreed on in the handshake, or null. */
    public readonly ?string $subprotocol;

    /** For the application: any value. Initially the `$data` of {@see Handshake::accept()}. */
    public mixed $data = null;

    private function __construct() {}

    /**
     * Sends a message. Never blocks: what the peer cannot take yet is kept, up to
     * {@see Options::$sendBufferLimit}; beyond that {@see Options::$slowConsumer} decides.
     *
     * Messages sent by callbacks leave together: when no more events wait, and at the latest some 10 ms
     * later, even while a callback is still running. A message sent outside callbacks leaves at once.
     *
     * @param string $payload UTF-8 unless binary (RFC 6455 section 5.6).
     * @param bool $binary Send a binary message, of any bytes.
     *
     * @return bool False if the connection is closed or closing, the server stops, or the message was
     *         dropped. True: it goes out before the close frame, whoever closes next.
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
     * Sends a pong that answers no ping, a sign of life that asks for none (RFC 6455 section
     * 5.5.3). The extension answers pings of the peer by itself.
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
     * Starts the closing handshake after all that was sent before, which the peer may take as slowly
     * as {@see Options::$closeTimeout} allows. No message is delivered any more; onClose follows when
     * the peer has answered, or that time is up. Does nothing on a connection that is closed or closing.
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
     * A name is one topic and never a pattern, so that client input in a name reaches one topic at most. It
     * must still be checked: a client that may choose any name may read any topic.
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
     * A pattern has tokens that are separated by dots: `*` stands for one token, `>` at the end for
     * one or more. `room.*` matches `room.7`, and `room.>` matches `room.7.typing` too. A pattern
     * without either is the topic of that name.
     *
     * Never put client input into a pattern: `*` and `>` would read topics of others.
     *
     * @param string ...$patterns Each 1 to 255 bytes of UTF-8.
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
     * Clients learn positions from {@see History::$stamp} and from onResume, keep the last one, and
     * return it when they reconnect. An empty position means "from now on", which is how a client
     * begins. Positions may be passed on unchecked: one that the topic never had resumes nothing, and
     * `$complete` is false.
     *
     * The replay may exceed {@see Options::$sendBufferLimit}, for one topic at a time: the
     * replay of the next topic begins when the one before has been written, and {@see unsubscribe()}
     * cancels one that has not begun.
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
     * @param string $member Name of the member: 1 to 255 bytes of UTF-8, such as the user's id.
     * @param string $data Information for others: at most 65536 bytes, such as JSON.
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

    /** False once close() or terminate() was called, or the end of the connection was noticed. */
    public function isOpen(): bool {}

    /**
     * Bytes accepted by send() that the kernel has not taken yet, framing included.
     *
     * @return int<0, max>
     */
    public function bufferedAmount(): int {}
}

/**
 * A handshake that waits for the decision of {@see Server::onUpgrade()}.
 *
 * Answer it in the callback, or keep it and answer from a later one, such as a timer's, within
 * {@see Options::$handshakeTimeout}, after which the client gets a 503. A handshake that is dropped
 * unanswered is answered with 500.
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
     * Accepts: answers 101. onOpen follows.
     *
     * @param string|null $subprotocol One of {@see Request::subprotocols()}; null leaves the
     *        choice to {@see Options::$subprotocols}.
     * @param array<string, string|list<string>> $headers Further headers of the answer.
     * @param mixed $data For {@see Connection::$data}.
     *
     * @return bool False if it is too late: the client went away, closed its side, or the timeout has
     *         passed.
     *
     * @throws StateException If the handshake was answered before.
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
     * @param array<string, string|list<string>> $headers Further headers of the answer. A
     *        `Sec-WebSocket-Protocol` may list the subprotocols of the application.
     *
     * @return bool False if it is too late: the client went away or the time was up.
     *
     * @throws StateException If the handshake was answered before.
     * @throws ForkException In a fork of the process that started the server.
     * @throws \ValueError If the status or a header is not allowed.
     */
    public function reject(int $status = 403, string $body = '', array $headers = []): bool {}

    /** Whether the client still waits for an answer. */
    public function isPending(): bool {}
}

/**
 * An HTTP request: of a handshake, or a plain one for {@see Server::onRequest()}. Immutable;
 * parsed when asked.
 *
 * ```php
 * $room = $connection->request->query()['room'] ?? 'lobby';
 * $agent = $connection->request->header('User-Agent');
 * ```
 */
final class Request
{
    private function __construct() {}

    /** `GET`, `POST`, …, as sent. A WebSocket handshake is `GET`, over HTTP/2 `CONNECT` (RFC 8441). */
    public function method(): string {}

    /** Version of HTTP: `1.0`, `1.1` or `2`. */
    public function protocolVersion(): string {}

    /** Path and query as sent: `/caf%C3%A9?room=1`. */
    public function target(): string {}

    /** The target before the question mark, still percent-encoded: `/caf%C3%A9`. */
    public function path(): string {}

    /**
     * The parameters of the query, decoded and nested as in `$_GET`.
     *
     * @return array<int|string, mixed>
     */
    public function query(): array {}

    /** The target after the question mark, still encoded; empty without one. */
    public function queryString(): string {}

    /**
     * A header by its name, whatever its case; null if there is none. Repeated headers are
     * joined by `, `, cookies by `; `.
     */
    public function header(string $name): ?string {}

    /**
     * All headers, names in lower case. Repeated headers are joined as by {@see header()}.
     *
     * @return array<string, string>
     */
    public function headers(): array {}

    /**
     * The cookies: names as sent, values percent-decoded as in `$_COOKIE`. The first of a name counts,
     * and the first 1,000 names.
     *
     * @return array<int|string, string>
     */
    public function cookies(): array {}

    /**
     * IP address of the client, behind {@see Options::$trustedProxies} that which they tell; empty
     * on a Unix socket.
     */
    public function remoteAddress(): string {}

    /** Port of the client; 0 on a Unix socket, or if a proxy has not told it. */
    public function remotePort(): int {}

    /** IP address that the client connected to; empty on a Unix socket. */
    public function localAddress(): string {}

    /** Port that the client connected to; 0 on a Unix socket. */
    public function localPort(): int {}

    /** `ws` or `wss` for handshakes, `http` or `https` for plain requests. */
    public function scheme(): string {}

    /** Whether the client's connection is encrypted, to us or to a trusted proxy. */
    public function isSecure(): bool {}

    /**
     * The subprotocols that the client offers, its favourite first (RFC 6455 section 4.1).
     *
     * @return list<string>
     */
    public function subprotocols(): array {}

    /**
     * The client's certificate in PEM, for `openssl_x509_parse()`: it is issued by a CA of
     * {@see Tls::$clientCa}, not expired, and the client has proved that it has the key. Null if
     * it gave none.
     */
    public function clientCertificate(): ?string {}

    /** The body of a plain request; empty for a handshake. */
    public function body(): string {}

    /**
     * Answers a plain request, in the callback of {@see Server::onRequest()} or later, if that
     * returns null.
     *
     * ```php
     * $server->onRequest(function (Sprocket\Request $r) use ($server): ?Sprocket\Response {
     *     $server->after(0.5, fn () => $r->respond(new Sprocket\Response(200, 'half a second later')));
     *     return null;
     * });
     * ```
     *
     * @return bool False if it is too late: the client went away or the time was up. A client that has
     *         only ended its own side of the connection still gets the answer.
     *
     * @throws StateException If the request was answered before, or is that of a handshake.
     * @throws ForkException In a fork of the process that started the server.
     */
    public function respond(Response $response): bool {}

    /**
     * Answers a plain request with a body that is written in pieces, now or later: a large file, or
     * events of a server (Server-sent events). Status and headers are sent at once. See
     * {@see ResponseStream} for an example.
     *
     * The body is chunked over HTTP/1.1, ends with the connection over HTTP/1.0, and travels in DATA
     * frames over HTTP/2. In answer to HEAD, and with the status 204 or 304, the response is over with
     * its head: the stream is not open, and {@see ResponseStream::onClose()} runs.
     *
     * Each stream takes a place under {@see Options::$maxConnections} and
     * {@see Options::$maxConnectionsPerIp}. Where there is none, or where the client no longer waits,
     * the stream closes at once.
     *
     * @param int $status 200 to 599.
     * @param array<string, string|list<string>> $headers As for {@see Response}; without a
     *        `Content-Type` the body is `text/plain; charset=utf-8`.
     *
     * @throws StateException If the request was answered before, or is that of a handshake.
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
 *         // As much as fits: the rest follows when all of this has left.
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
 * The server keeps a stream that has a callback until it closes. One that nobody refers to any more
 * is cut, because its response is incomplete, as {@see terminate()} does it: end each stream.
 */
final class ResponseStream
{
    /** The request that it answers. */
    public readonly Request $request;

    private function __construct() {}

    /**
     * Appends to the body. Never blocks. Pieces leave when messages do: see {@see Connection::send()}.
     *
     * When more than {@see Options::$sendBufferLimit} bytes would wait for the client, it reads too
     * slowly, and the response is cut, whatever {@see Options::$slowConsumer} says: there is no way to
     * leave a piece out. A piece that is larger than the limit passes if nothing waits before it.
     * {@see bufferedAmount()} and {@see onDrain()} serve to write no faster than the client reads. A
     * client that takes nothing of what waits for {@see Options::$handshakeTimeout} loses the stream
     * as well.
     *
     * @return bool False if the stream is not open, or is cut by this call.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function write(string $data): bool {}

    /**
     * Ends the body, behind a last piece if there is one. All that was written is still delivered.
     *
     * @return bool False if the stream is not open, or is cut by this call as by {@see write()}.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function end(string $data = ''): bool {}

    /**
     * Cuts the response, so that the client sees that it is incomplete: over HTTP/1.1 the last chunk is
     * missing, over HTTP/1.0 the connection is reset, over HTTP/2 the stream. Waiting data is dropped.
     * Does nothing if the stream has closed.
     *
     * @throws ForkException In a fork of the process that started the server.
     */
    public function terminate(): void {}

    /**
     * Sets the callback that runs when the socket has taken all that was written, each time that something had
     * waited. Continue large bodies here.
     *
     * @param (callable(ResponseStream): mixed)|null $callback Replaces the previous callback; null removes it.
     */
    public function onDrain(?callable $callback): static {}

    /**
     * Sets the callback that runs once when the stream has closed: the whole response was handed to the client's
     * connection, or the client left, read too slowly, or was cut by {@see terminate()}, by the end
     * of a {@see Server::stop()}, or for want of a place. Nothing runs for the stream after it; a
     * callback that is set later never runs.
     *
     * @param (callable(ResponseStream, bool): mixed)|null $callback
     *        `function (ResponseStream $stream, bool $complete): void`; complete is true if the socket
     *        has taken all of the response, its end included. Replaces what was set before; null
     *        removes it.
     */
    public function onClose(?callable $callback): static {}

    /** Whether {@see write()} can succeed: false from {@see end()} on, and when the client has left. */
    public function isOpen(): bool {}

    /**
     * Bytes that were written and that the socket has not taken yet. Over HTTP/2 as many as 64 KiB
     * more may wait for the client in the connection.
     */
    public function bufferedAmount(): int {}
}

/**
 * The answer to a plain HTTP request, returned by the callback of {@see Server::onRequest()} or
 * given to {@see Request::respond()}.
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
    /** Status code. */
    public readonly int $status;

    /** The whole body. */
    public readonly string $body;

    /**
     * Headers as given.
     *
     * @var array<string, string|list<string>>
     */
    public readonly array $headers;

    /**
     * `Content-Length`, `Connection` and the like are set by the server; only `Connection: close`
     * may be given, and ends the connection after the response. A 426 gets `Upgrade: websocket`. Over
     * HTTP/2, headers that concern the connection alone are left out. Without a `Content-Type` a body is
     * sent as `text/plain; charset=utf-8`.
     *
     * @param int $status 200 to 599.
     * @param array<string, string|list<string>> $headers Name to value, or to several values.
     *
     * @throws \ValueError If the status or a header is not allowed.
     */
    public function __construct(int $status = 200, string $body = '', array $headers = []) {}
}

/**
 * Publishes to the topics of servers in other processes: from a web request (php-fpm, mod_php), a
 * cron job, a queue worker. Either to one server of the same machine, which needs
 * {@see Options::$publishSocket}, or through a broker, Redis or NATS, to all that are connected to it.
 *
 * The connection is made when it is first needed and is kept by the PHP process beyond the
 * request, for every Publisher of the same address and prefix. A server that was restarted is
 * connected to anew; after a fork the child makes a connection of its own.
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
    /** As given, which includes a password. */
    public readonly string $address;

    /** Seconds that one {@see publish()} may take. */
    public readonly float $timeout;

    /** Prefix of the broker's channels or subjects: the servers' {@see Options::$brokerPrefix}. */
    public readonly string $prefix;

    /**
     * Connects to nothing yet.
     *
     * @param string $address `unix:///path/to.sock`, the server's {@see Options::$publishSocket}; or a
     *        broker: `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` (TLS),
     *        `redis+unix:///PATH`, `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST…]`, `tls://…` (NATS
     *        with TLS). With TLS `?ca=/PATH` names a file of CAs in place of the system's, `cert=` and
     *        `key=` those of a certificate for us.
     * @param float $timeout Seconds that one {@see publish()} may take, connecting included;
     *        0.001 to 86400. Looking up a host name takes as long as the system's resolver is set to.
     * @param string $prefix As the servers have it, at most 100 bytes. Without a meaning for
     *        `unix://`.
     *
     * @throws InvalidOption If an argument is not allowed; its option is `address`, `timeout` or
     *         `prefix`. A password is left out of the message.
     */
    public function __construct(string $address, float $timeout = 1.0, string $prefix = 'sprocket:') {}

    /**
     * Publishes like {@see Server::publish()}. With `unix://` it waits until the server has handed
     * the message to all connections that are subscribed now; with a broker, until the broker has
     * passed it on to all servers that are connected to it. Messages of one process arrive in the
     * order in which they were published.
     *
     * A topic of {@see Options::$history} remembers what comes by `unix://`, and not what comes through
     * a broker.
     *
     * @param string $topic 1 to 255 bytes of UTF-8; not a pattern.
     * @param string $payload UTF-8 unless binary; at most {@see Options::$sendBufferLimit} bytes, and
     *        what the broker takes.
     *
     * @throws PublishException If nobody listens, the server refuses, or the time is up; or if there
     *         is no room in {@see Options::$brokerQueue} of the server: the message says who has got it.
     * @throws InvalidPayload If a text message is not valid UTF-8.
     * @throws \ValueError If the topic is not allowed.
     */
    public function publish(string $topic, string $payload, bool $binary = false): void {}
}

/**
 * The interface of all exception classes of the extension. Wrong arguments throw PHP's own
 * `\TypeError` and `\ValueError`, as with functions of PHP itself.
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

/** An option, or an address, is not allowed. The message names it, its value, and what is allowed. */
final class InvalidOption extends \InvalidArgumentException implements Exception
{
    /** Name of the option: `maxMessageSize`, …, or `listen`. */
    public readonly string $option;

    /** The value that was refused. */
    public readonly mixed $value;

    /** Description of the allowed values. */
    public readonly string $allowed;
}

/** A text message is not valid UTF-8. Send it as binary, or convert it. */
final class InvalidPayload extends \InvalidArgumentException implements Exception
{
}

/** The server can't listen. The message names the address and the reason, the code is the errno. */
final class BindException extends \RuntimeException implements Exception
{
}

/**
 * The server belongs to the parent of this process: threads don't survive a fork. The message
 * names both process ids. Create a server in the child, or fork before the start.
 */
final class ForkException extends \RuntimeException implements Exception
{
}

/** A call that does not fit the state of the server: a nested run(), an answer given twice. */
final class StateException extends \LogicException implements Exception
{
}

/**
 * An I/O thread of the server has died of a panic, which is a bug of this extension: please report it
 * with the panic's message, which stands on the standard error. The server has ended: all connections
 * are cut, and each has had its onClose with 1006. {@see Server::start()} begins anew.
 */
final class ThreadException extends \RuntimeException implements Exception
{
}

/**
 * Certificates or keys cannot be used: a file is missing or malformed, the passphrase is wrong, or the
 * key does not match. The message names the file and the fault.
 */
final class TlsException extends \RuntimeException implements Exception
{
}

/**
 * Workers cannot be started, or this process cannot become one. The message names the reason; the
 * output of the worker itself is on the standard error, before it.
 */
final class WorkerException extends \RuntimeException implements Exception
{
}

/**
 * A message could not be published, or not to everybody. Thrown by a {@see Publisher} if nobody
 * listens, the server refused, or the time was up: the message names the address and the reason,
 * the code is the errno if connecting failed. Thrown by {@see Server::publish()}, or given to
 * {@see Server::onError()}, if other workers or nodes do not get it.
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
     * True if the message may have reached somebody, so that to publish it again could deliver it
     * twice: the server or broker went silent after it had the message; or it was delivered on this
     * worker or machine, and not on others; or it is not known how far it came when a connection
     * broke. False: it was not published.
     */
    public readonly bool $uncertain;
}
