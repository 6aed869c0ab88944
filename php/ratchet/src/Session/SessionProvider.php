<?php

declare(strict_types=1);

namespace Ratchet\Session;

use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Ratchet\Http\HttpServerInterface;
use Ratchet\Session\Serialize\HandlerInterface;
use Ratchet\Session\Storage\VirtualSessionStorage;
use Symfony\Component\HttpFoundation\Session\Session;
use Symfony\Component\HttpFoundation\Session\Storage\Handler\NullSessionHandler;

/**
 * Gives each connection the Symfony session of the cookie in its handshake, as `$conn->Session`.
 * The session is read once, when it is first used, and not written.
 */
class SessionProvider implements HttpServerInterface
{
    /** @var HttpServerInterface */
    protected $_app;

    /** @var \SessionHandlerInterface Where the web application keeps its sessions. */
    protected $_handler;

    /** @var \SessionHandlerInterface For clients without a session. */
    protected $_null;

    /** @var HandlerInterface */
    protected $_serializer;

    /** @var array<string, mixed> Options by their names in php.ini, without `session.`. */
    private $options = [];

    /**
     * @param array                 $options    Settings of php.ini without `session.`: `name`, `auto_start`, ….
     * @param HandlerInterface|null $serializer Null for the one that the setting `serialize_handler` names.
     *
     * @throws \InvalidArgumentException If $serializer is not a serializer.
     * @throws \RuntimeException         If there is no class for `serialize_handler`.
     */
    public function __construct(HttpServerInterface $app, \SessionHandlerInterface $handler, array $options = [], $serializer = null)
    {
        if ($serializer !== null && !$serializer instanceof HandlerInterface) {
            throw new \InvalidArgumentException('Argument #4 ($serializer) expected null|' . HandlerInterface::class);
        }
        $this->_app = $app;
        $this->_handler = $handler;
        $this->_null = new NullSessionHandler();
        $this->options = $this->setOptions($options);
        $this->_serializer = $serializer ?? $this->serializer();
    }

    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        $id = $request === null ? null : $this->sessionId($request->getHeader('Cookie'));
        $handler = $id === null ? $this->_null : $this->_handler;
        $conn->Session = new Session(new VirtualSessionStorage($handler, (string) $id, $this->_serializer));
        if ($this->option('auto_start')) {
            $conn->Session->start();
        }

        return $this->_app->onOpen($conn, $request);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        return $this->_app->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        return $this->_app->onClose($conn);
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        return $this->_app->onError($conn, $e);
    }

    /**
     * Applies the options to PHP's session functions where they can still be changed; this class itself
     * uses them in any case.
     *
     * @return array The options.
     */
    protected function setOptions(array $options)
    {
        if (!headers_sent() && session_status() !== PHP_SESSION_ACTIVE) {
            foreach ($options as $name => $value) {
                @ini_set("session.$name", (string) $value);
            }
        }

        return $options;
    }

    /**
     * `php_binary` becomes `PhpBinary`.
     *
     * @param string $langDef
     *
     * @return string
     */
    protected function toClassCase($langDef)
    {
        return str_replace('_', '', ucwords($langDef, '_'));
    }

    private function serializer(): HandlerInterface
    {
        $name = (string) $this->option('serialize_handler');
        $class = __NAMESPACE__ . '\\Serialize\\' . $this->toClassCase($name) . 'Handler';
        if (!class_exists($class)) {
            throw new \RuntimeException("Sessions of session.serialize_handler '$name' cannot be read: pass a serializer");
        }

        return new $class();
    }

    private function option(string $name): mixed
    {
        return $this->options[$name] ?? ini_get("session.$name");
    }

    /**
     * @param string[] $headers Values of Cookie headers.
     */
    private function sessionId(array $headers): ?string
    {
        $wanted = (string) $this->option('name');
        foreach (explode(';', implode(';', $headers)) as $cookie) {
            [$name, $value] = explode('=', $cookie, 2) + [1 => ''];
            if (trim($name) === $wanted) {
                return urldecode(trim(trim($value), '"'));
            }
        }

        return null;
    }
}
