# All prerequisites are files and none is a phony target, so that `sudo make install` after `make` only
# copies the module and does not run cargo as root.

# A failed test run would offer to mail a report to PHP's developers, who cannot use it.
export NO_INTERACTION = 1

# phpize's Makefile reads the module's file name from here.
$(phplibdir)/sprocket.la: $(phplibdir)/sprocket.so
	@echo "dlname='sprocket.so'" > $@

$(phplibdir)/sprocket.so: $(SPROCKET_SOURCES)
	@test -d $(phplibdir) || mkdir $(phplibdir)
	@echo "Building Sprocket with cargo (the first time takes some minutes)"
	@CARGO='$(SPROCKET_CARGO)' PHP_CONFIG='$(SPROCKET_PHP_CONFIG)' PHP= CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$(top_builddir)/target}" sh $(srcdir)/bin/build $(SPROCKET_BUILD_FLAGS) -o $@

# A source deleted since ./configure must cause a rebuild, not an error.
$(SPROCKET_SOURCES):
