<?php

declare(strict_types=1);

namespace Ratchet\Server;

use Ratchet\ConnectionInterface;
use Ratchet\MessageComponentInterface;

/**
 * Serves a cross-domain policy file to Flash Player, which asks for it on a port of its own.
 *
 * Flash is gone from browsers since 2021; this is kept for applications that still set it up.
 */
class FlashPolicy implements MessageComponentInterface
{
    /** @var string The document that entries are added to. */
    protected $_policy = '<?xml version="1.0"?><!DOCTYPE cross-domain-policy SYSTEM "http://www.adobe.com/xml/dtds/cross-domain-policy.dtd"><cross-domain-policy></cross-domain-policy>';

    /** @var list<array{string, string, bool}> Domain, ports, whether only over TLS. */
    protected $_access = [];

    /** @var string */
    protected $_siteControl = '';

    /** @var string The rendered document. */
    protected $_cache = '';

    /** @var bool Whether the rendered document is up to date. */
    protected $_cacheValid = false;

    /**
     * Admits a domain.
     *
     * @param string     $domain Host name, with `*` as its first label or alone for any.
     * @param string|int $ports  `*`, or ports and ranges separated by commas: `80,8000-8100`.
     * @param bool       $secure
     *
     * @return FlashPolicy
     *
     * @throws \UnexpectedValueException
     */
    public function addAllowedAccess($domain, $ports = '*', $secure = false)
    {
        if (!$this->validateDomain($domain)) {
            throw new \UnexpectedValueException("'$domain' is not a domain of a cross-domain policy");
        }
        if (!$this->validatePorts($ports)) {
            throw new \UnexpectedValueException("'$ports' is neither '*' nor a list of ports and ranges");
        }
        $this->_access[] = [(string) $domain, (string) $ports, (bool) $secure];
        $this->_cacheValid = false;

        return $this;
    }

    /**
     * Removes all admitted domains.
     *
     * @return FlashPolicy
     */
    public function clearAllowedAccess()
    {
        $this->_access = [];
        $this->_cacheValid = false;

        return $this;
    }

    /**
     * Sets which policy files of the host count.
     *
     * @param string $permittedCrossDomainPolicies `none`, `master-only`, or `all`
     *
     * @return FlashPolicy
     *
     * @throws \UnexpectedValueException
     */
    public function setSiteControl($permittedCrossDomainPolicies = 'all')
    {
        if (!$this->validateSiteControl($permittedCrossDomainPolicies)) {
            throw new \UnexpectedValueException("'$permittedCrossDomainPolicies' is not a site control of a cross-domain policy");
        }
        $this->_siteControl = $permittedCrossDomainPolicies;
        $this->_cacheValid = false;

        return $this;
    }

    public function onOpen(ConnectionInterface $conn)
    {
    }

    public function onMessage(ConnectionInterface $from, $msg)
    {
        if (!$this->_cacheValid) {
            $this->_cache = (string) $this->renderPolicy()->asXML();
            $this->_cacheValid = true;
        }
        // Flash Player expects a zero byte after the document.
        $from->send($this->_cache . "\0");
        $from->close();
    }

    public function onClose(ConnectionInterface $conn)
    {
    }

    public function onError(ConnectionInterface $conn, \Exception $e)
    {
        $conn->close();
    }

    /**
     * The policy as a document.
     *
     * @return \SimpleXMLElement
     *
     * @throws \UnexpectedValueException If no access is allowed at all.
     */
    public function renderPolicy()
    {
        if ($this->_access === []) {
            throw new \UnexpectedValueException('The policy admits nobody: call addAllowedAccess() first');
        }
        $document = new \SimpleXMLElement($this->_policy);
        $control = $document->addChild('site-control');
        $control->addAttribute('permitted-cross-domain-policies', $this->_siteControl === '' ? 'all' : $this->_siteControl);
        foreach ($this->_access as [$domain, $ports, $secure]) {
            $entry = $document->addChild('allow-access-from');
            $entry->addAttribute('domain', $domain);
            $entry->addAttribute('to-ports', $ports);
            $entry->addAttribute('secure', $secure ? 'true' : 'false');
        }

        return $document;
    }

    /**
     * @param string $permittedCrossDomainPolicies
     *
     * @return bool
     */
    public function validateSiteControl($permittedCrossDomainPolicies)
    {
        return in_array($permittedCrossDomainPolicies, ['none', 'master-only', 'all'], true);
    }

    /**
     * @param string $domain
     *
     * @return bool
     */
    public function validateDomain($domain)
    {
        $label = '[a-z\d]([-a-z\d]*[a-z\d])?';

        return $domain === '*' || preg_match("~^(https?://)?(\\*\\.)?($label\\.)*$label\$~iD", (string) $domain) === 1;
    }

    /**
     * @param string|int $port
     *
     * @return bool
     */
    public function validatePorts($port)
    {
        return preg_match('/^(\*|\d+(-\d+)?(,\d+(-\d+)?)*)$/D', (string) $port) === 1;
    }
}
