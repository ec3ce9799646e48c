# Elements with higher numbers take these as they are, and give them defaults
# that do not fit here otherwise.

# The account that gets the injected files, and operators log in to.
export GUEST_USERNAME=${GUEST_USERNAME:-ubuntu}
export DIB_CLOUD_INIT_DATASOURCES=${DIB_CLOUD_INIT_DATASOURCES:-"ConfigDrive, OpenStack"}
# cloud-init and systemd-networkd configure the network, with the names it gets
# on the first boot.
export DIB_APT_MINIMAL_CREATE_INTERFACES=${DIB_APT_MINIMAL_CREATE_INTERFACES:-0}
# Only for dib's own scripts: its default for Debian is an interpreter that
# Debian does not have any more.
export DIB_PYTHON_VERSION=${DIB_PYTHON_VERSION:-3}
# Guests are virtual machines: Ubuntu's other kernels bring the firmware of all
# hardware there is, half a gigabyte.
export DIB_UBUNTU_KERNEL=${DIB_UBUNTU_KERNEL:-linux-image-virtual}
# A menu that nobody sees is five seconds of every boot.
export DIB_GRUB_TIMEOUT=${DIB_GRUB_TIMEOUT:-0}
