<?php

declare(strict_types=1);

namespace Ratchet\Session\Storage\Proxy;

use Symfony\Component\HttpFoundation\Session\Storage\Proxy\SessionHandlerProxy;

/**
 * A session handler with an id of its own, where PHP's session functions know only one for the
 * process. Its signatures are compatible with Symfony 5.4 to 8.
 */
class VirtualProxy extends SessionHandlerProxy
{
    /** @var string */
    protected $_sessionId = '';

    /** @var string */
    protected $_sessionName;

    public function __construct(\SessionHandlerInterface $handler)
    {
        parent::__construct($handler);

        $this->saveHandlerName = 'user';
        $this->_sessionName = (string) ini_get('session.name');
    }

    public function getId(): string
    {
        return $this->_sessionId;
    }

    public function setId($id): void
    {
        $this->_sessionId = (string) $id;
    }

    public function getName(): string
    {
        return $this->_sessionName;
    }

    /**
     * @throws \RuntimeException Always: the name is that of the web application's session.
     */
    public function setName($name): void
    {
        throw new \RuntimeException('The name of a virtual session is set by the options of its SessionProvider');
    }
}
