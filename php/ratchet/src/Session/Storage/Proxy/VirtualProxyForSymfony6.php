<?php

declare(strict_types=1);

namespace Ratchet\Session\Storage\Proxy;

// One class does for all versions of Symfony; this name is kept for those who wrote it down.
class_alias(VirtualProxy::class, VirtualProxyForSymfony6::class);
