<?php

declare(strict_types=1);

namespace Ratchet\Http;

use GuzzleHttp\Psr7\Query;
use Psr\Http\Message\RequestInterface;
use Ratchet\ConnectionInterface;
use Symfony\Component\Routing\Exception\MethodNotAllowedException;
use Symfony\Component\Routing\Exception\ResourceNotFoundException;
use Symfony\Component\Routing\Matcher\UrlMatcherInterface;

/**
 * Passes a request to the component of the Symfony route that matches it, in `_controller`: a
 * component, or the name of a class that is instantiated for each connection.
 */
class Router implements HttpServerInterface
{
    use CloseResponseTrait;

    /** @var UrlMatcherInterface */
    protected $_matcher;

    /** @var NoOpHttpServerController Stands in for the component of a connection that has none. */
    private $_noopController;

    public function __construct(UrlMatcherInterface $matcher)
    {
        $this->_matcher = $matcher;
        $this->_noopController = new NoOpHttpServerController();
    }

    /**
     * @throws \UnexpectedValueException If there is no request, or the controller is no component.
     */
    public function onOpen(ConnectionInterface $conn, ?RequestInterface $request = null)
    {
        if ($request === null) {
            throw new \UnexpectedValueException('A Router needs a request: wrap it in an HttpServer');
        }
        $conn->controller = $this->_noopController;

        $uri = $request->getUri();
        $context = $this->_matcher->getContext();
        $context->setMethod($request->getMethod());
        $context->setHost($uri->getHost());
        try {
            $route = $this->_matcher->match($uri->getPath());
        } catch (MethodNotAllowedException $e) {
            return $this->close($conn, 405, ['Allow' => $e->getAllowedMethods()]);
        } catch (ResourceNotFoundException) {
            return $this->close($conn, 404);
        }

        $controller = $route['_controller'];
        if (is_string($controller) && class_exists($controller)) {
            $controller = new $controller();
        }
        if (!$controller instanceof HttpServerInterface) {
            throw new \UnexpectedValueException('The controller of a route must be a ' . HttpServerInterface::class);
        }

        // Parameters of the route come first; those of the client's query take precedence.
        $parameters = array_filter(
            $route,
            static fn ($name) => !str_starts_with((string) $name, '_'),
            ARRAY_FILTER_USE_KEY
        );
        $query = array_replace($parameters, Query::parse($uri->getQuery() ?: ''));
        $request = $request->withUri($uri->withQuery(Query::build($query)));

        $conn->controller = $controller;

        return $controller->onOpen($conn, $request);
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        return $from->controller->onMessage($from, $msg);
    }

    public function onClose(ConnectionInterface $conn)
    {
        if (isset($conn->controller)) {
            return $conn->controller->onClose($conn);
        }
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        if (isset($conn->controller)) {
            return $conn->controller->onError($conn, $e);
        }
    }
}
