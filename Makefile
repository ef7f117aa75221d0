# SPDX-License-Identifier: Apache-2.0
# Meson builds; this file is for fingers that type "make". BUILD, PREFIX and DESTDIR may be set.
BUILD ?= build-release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
export DESTDIR

# What is installed, and nothing else: the tests are built by ./check.
PROGRAMS = src/daemon/vmkeepd src/guard/vmkeep-guard src/cli/vmkeep src/repotool/vmkeep-repo

all: $(BUILD)/build.ninja
	ninja -C $(BUILD) $(PROGRAMS)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --buildtype=release --prefix=$(PREFIX) --sysconfdir=$(SYSCONFDIR)

check:
	./check

# Needs no running systemd: the group and the directories are made now if they can be, else at the next boot.
install: all
	meson install -C $(BUILD) --no-rebuild
	if [ ! -e "$(DESTDIR)$(SYSCONFDIR)/vmkeep/vmkeep.conf" ]; then install -D -m 644 install/vmkeep.conf "$(DESTDIR)$(SYSCONFDIR)/vmkeep/vmkeep.conf"; fi
	if [ -z "$(DESTDIR)" ]; then tools/after-install $(PREFIX); fi

# State and configuration stay: with them, installed again, it goes on.
uninstall:
	if [ -z "$(DESTDIR)" ]; then tools/before-uninstall; fi
	ninja -C $(BUILD) uninstall
	for d in share/doc/vmkeep libexec/vmkeep; do [ ! -d "$(DESTDIR)$(PREFIX)/$$d" ] || rmdir --ignore-fail-on-non-empty "$(DESTDIR)$(PREFIX)/$$d"; done
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

clean:
	rm -rf $(BUILD) build build-check build-demo

.PHONY: all check install uninstall clean
