# Runs as the service would, in its sandbox, and prints what it may: "NAME yes" or "NAME no WHY".
use strict;
use warnings;

sub say_of {
    my ($name, $done) = @_;
    my $why = $!;
    print $done ? "$name yes\n" : "$name no $why\n";
}

sub writes {
    my ($name, $path) = @_;
    my $done = open(my $file, '>', $path);
    say_of($name, $done);
    unlink $path if $done;
}

sub reads {
    my ($name, $path) = @_;
    say_of($name, open(my $file, '<', $path));
}

# syscall numbers of x86-64
my %calls = (
    mount => [165, 0, 0, 0, 0, 0], unshare => [272, 0x10000000], reboot => [169, 0, 0, 0],
    ptrace => [101, 0, 1, 0, 0], chown => [92, "/var/lib/postern", 0, 0],
    settimeofday => [164, 0, 0], init_module => [175, 0, 0, 0], bpf => [321, 0, 0, 0],
    setpriority => [141, 0, 0, 5], sethostname => [170, "x", 1],
    # 4 KiB that is writable and executable, and 4 KiB that is not
    mmap_wx => [9, 0, 4096, 7, 0x22, -1, 0], mmap_rw => [9, 0, 4096, 3, 0x22, -1, 0],
    socket_packet => [41, 17, 3, 0], socket_inet => [41, 2, 1, 0],
);

print "uid $< gid $(\n";
writes('write_etc', '/etc/postern-probe');
writes('write_config', '/etc/postern/probe');
writes('write_usr', '/usr/postern-probe');
writes('write_data', '/var/lib/postern/probe');
writes('write_log', '/var/log/postern/probe');
writes('write_tmp', '/tmp/postern-probe');
reads('read_shadow', '/etc/shadow');
reads('read_key', '/etc/postern/credentials/key.pem');
reads('read_credential', "$ENV{CREDENTIALS_DIRECTORY}/postern_key.pem");
reads('read_home', '/home/somebody/letter');
reads('read_root', '/root/letter');
reads('read_tmp_of_others', '/tmp/of-others');
say_of('see_process_1', -e '/proc/1/status');
say_of('see_sys', -e '/proc/sys/kernel/hostname');
say_of('see_disk', -e '/dev/kmsg');
for my $name (sort keys %calls) {
    my ($number, @arguments) = @{$calls{$name}};
    $! = 0;
    say_of("call_$name", syscall($number, @arguments) != -1);
}
