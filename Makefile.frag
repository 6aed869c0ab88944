# The prerequisites are files, never phony targets, so that `sudo make install` after `make`
# copies what is there and does not run cargo as root.

# A failed test run offers to mail a report to PHP's developers, who could do nothing with it.
export NO_INTERACTION = 1

# phpize's Makefile reads the module's file name from here.
$(phplibdir)/sprocket.la: $(phplibdir)/sprocket.so
	@echo "dlname='sprocket.so'" > $@

$(phplibdir)/sprocket.so: $(SPROCKET_SOURCES)
	@test -d $(phplibdir) || mkdir $(phplibdir)
	@echo "Building Sprocket with cargo (the first time takes some minutes)"
	@CARGO='$(SPROCKET_CARGO)' PHP_CONFIG='$(SPROCKET_PHP_CONFIG)' PHP= CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-$(top_builddir)/target}" sh $(srcdir)/bin/build $(SPROCKET_BUILD_FLAGS) -o $@

# A source that is gone since ./configure only means: build again.
$(SPROCKET_SOURCES):
