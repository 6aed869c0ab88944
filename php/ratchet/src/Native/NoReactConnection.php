<?php

declare(strict_types=1);

namespace Ratchet\Native;

/**
 * The value of `IoConnection::$conn` where the native server holds the socket. Any access throws an
 * exception that says what to use instead.
 */
final class NoReactConnection
{
    private static ?self $instance = null;

    public static function get(): self
    {
        return self::$instance ??= new self();
    }

    public function __call(string $name, array $arguments): mixed
    {
        throw self::refusal("$name()");
    }

    public function __get(string $name): mixed
    {
        throw self::refusal("\$$name");
    }

    public function __set(string $name, mixed $value): void
    {
        throw self::refusal("\$$name");
    }

    private static function refusal(string $member): \LogicException
    {
        return new \LogicException("There is no React connection with a member $member: the native server holds the socket. "
            . 'Use remoteAddress, remotePort, localAddress and localPort of the Ratchet connection, its send() and close(), and '
            . 'Ratchet\Native\Backpressure; a subclass of IoServer that overrides handleConnect() is served by React');
    }
}
