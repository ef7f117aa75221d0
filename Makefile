# SPDX-License-Identifier: Apache-2.0
# Meson builds; this file is for fingers that type "make". BUILD, PREFIX and DESTDIR may be set.
BUILD ?= build-release
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
export DESTDIR

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD) --buildtype=release --prefix=$(PREFIX) --sysconfdir=$(SYSCONFDIR)

check:
	./check

# Needs no running systemd: the group and the directories are made now if they can be, else at the next boot.
install: all
	meson install -C $(BUILD) --no-rebuild
	if [ ! -e "$(DESTDIR)$(SYSCONFDIR)/vmkeep/vmkeep.conf" ]; then install -D -m 644 install/vmkeep.conf "$(DESTDIR)$(SYSCONFDIR)/vmkeep/vmkeep.conf"; fi
	if [ -z "$(DESTDIR)" ]; then tools/after-install $(PREFIX); fi

uninstall:
	ninja -C $(BUILD) uninstall

clean:
	rm -rf $(BUILD) build build-check build-demo

.PHONY: all check install uninstall clean
