#!/usr/bin/env python3
"""Replay recorded iptables decisions against the eBPF dataplane.

Each file in vectors/ holds what a real kernel did, under one real istio-iptables rule set (rules/<name>.txt), with a
fixed list of connections: who accepted, which peer address it saw, what SO_ORIGINAL_DST said, what the client's own
getpeername/getsockname said, where a UDP reply came from.  This program builds the same two-host network, attaches the
dataplane with the flags of configs.json instead of loading the rules, makes the same connections and prints every
difference.

  tests/oracle/run.py --bin target/release/sidestep [--dir DIR] [--only NAME] [--late] [-v]

  --dir    where configs.json and vectors/ are (default: beside this file)
  --late   attach after the sidecar's listeners exist (default: before)

Needs root, iproute2, util-linux and a cgroup2 mount, and of Python nothing but its library.  Exit status 0 only if every row matches.
Last line: "N passed, M failed".
"""
import argparse, ctypes, json, os, select, socket, struct, subprocess, sys, threading, time

POD4, PEER4, POD6, PEER6 = '10.244.0.2', '10.244.0.1', 'fd00:244::2', 'fd00:244::1'
APP = [8080, 4000, 32000, 15008, 15020, 15021, 15090, 22, 53, 15002, 5555, 80, 31000]
SIDECAR = [15001, 15006, 15053]
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def sh(cmd):
    r = subprocess.run(cmd, shell=True, capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f'{cmd}: {r.stderr.strip()}')
    return r.stdout


def cgroup2_root():
    for line in open('/proc/self/mountinfo'):
        pre, post = line.split(' - ')
        if post.split()[0] == 'cgroup2':
            return pre.split()[4]
    raise SystemExit('no cgroup2 mount')


def enter(pid):
    fd = os.open(f'/proc/{pid}/ns/net', os.O_RDONLY)
    if libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), 'setns')
    os.close(fd)


def join_cgroup(path):
    with open(f'{path}/cgroup.procs', 'w') as f:
        f.write(str(os.getpid()))


def original_dst(conn, fam):
    if fam == socket.AF_INET:
        b = conn.getsockopt(socket.SOL_IP, 80, 128)
        return len(b), '%s:%d' % (socket.inet_ntop(fam, b[4:8]), struct.unpack('!H', b[2:4])[0])
    b = conn.getsockopt(41, 80, 128)
    return len(b), '[%s]:%d' % (socket.inet_ntop(fam, b[8:24]), struct.unpack('!H', b[2:4])[0])


def serve(ports, tag, transparent=False):
    socks = {}
    for fam, any_ in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
        for port in ports:
            addr = any_
            if port == 15053 and tag == 'app':
                addr = '127.0.0.1' if fam == socket.AF_INET else '::1'
            for typ in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                s = socket.socket(fam, typ)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if fam == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if transparent and port in (15001, 15006) and typ == socket.SOCK_STREAM:
                    s.setsockopt(*((socket.SOL_IP, 19, 1) if fam == socket.AF_INET else (41, 75, 1)))
                s.bind((addr, port))
                if typ == socket.SOCK_STREAM:
                    s.listen(64)
                socks[s] = (fam, typ, port)

    def loop():
        while True:
            for s in select.select(list(socks), [], [], 60)[0]:
                fam, typ, port = socks[s]
                who = str(port) if port in SIDECAR and tag == 'app' else f'{tag}:{port}'
                if typ == socket.SOCK_DGRAM:
                    _, a = s.recvfrom(200)
                    s.sendto(json.dumps({'who': who, 'peer': f'{a[0]}:{a[1]}'}).encode(), a)
                    continue
                c, a = s.accept()
                o = {'who': who, 'peer': a[0], 'local': '%s:%d' % c.getsockname()[:2]}
                try:
                    o['origdst_len'], o['origdst'] = original_dst(c, fam)
                except OSError as e:
                    o['origdst_errno'] = e.errno
                try:
                    c.sendall(json.dumps(o).encode())
                except OSError:
                    pass
                c.close()
    threading.Thread(target=loop, daemon=True).start()


def fork_server(ports, uid, gid, transparent=False):
    def before():
        os.setgroups([])
        os.setgid(gid)
        if not transparent and uid:
            os.setresuid(uid, uid, 0)
    return fork(before, ports, 'app', transparent)


def fork(before, ports, tag, transparent=False):
    """A process that serves these ports, and does by the time this returns."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        try:
            before()
            serve(ports, tag, transparent)
            os.write(w, b'r')
        except OSError as e:
            print(f'{tag} on {ports}: {e}', flush=True)
            os._exit(1)
        os.close(w)
        time.sleep(240)
        os._exit(0)
    os.close(w)
    ready = os.read(r, 1)
    os.close(r)
    if not ready:
        os.waitpid(pid, 0)
        raise SystemExit(f'the servers on {ports} do not start')
    return pid


def probe(row, peer_pid, host_cgroup):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(r)
        o = {}
        try:
            if row['ns'] == 'peer':
                join_cgroup(host_cgroup)
                enter(peer_pid)
            os.setgroups([])
            os.setgid(row['gid'])
            os.setuid(row['uid'])
            fam = socket.AF_INET6 if ':' in row['dst'] else socket.AF_INET
            s = socket.socket(fam, socket.SOCK_STREAM if row['proto'] == 'tcp' else socket.SOCK_DGRAM)
            s.settimeout(1.2)
            if row['src']:
                s.bind((row['src'], 0))
            if row['proto'] == 'tcp':
                s.connect((row['dst'], row['dport']))
                o['sockname'] = s.getsockname()[0]
                o['peername'] = '%s:%d' % s.getpeername()[:2]
                b = s.recv(500)
                o.update(json.loads(b) if b else {'who': 'EOF'})
            else:
                s.sendto(b'q', (row['dst'], row['dport']))
                b, a = s.recvfrom(500)
                o.update(json.loads(b))
                o['reply_from'] = '%s:%d' % a[:2]
        except OSError as e:
            o['who'] = 'ERR'
            o['errno'] = str(e)
        os.write(w, json.dumps(o).encode())
        os._exit(0)
    os.close(w)
    data = b''
    while True:
        x = os.read(r, 4096)
        if not x:
            break
        data += x
    os.close(r)
    os.waitpid(pid, 0)
    return json.loads(data)


def differences(want, got):
    """Fields a caller of the socket API can observe; `local` differs by design (no NAT on the accepting side)."""
    out = []
    w, g = want['who'], got.get('who', 'nothing')
    if w.startswith('ERR'):
        w = 'ERR'
    if w != g:
        out.append(f'who: want {want["who"]} got {g} {got.get("errno", "")}')
        return out
    fields = ['sockname', 'peername']
    if want['proto'] == 'udp':
        fields = ['reply_from']
    else:
        fields.append('peer')
        if w in ('15001', '15006', '15053'):
            fields += ['origdst', 'origdst_len']
    for f in fields:
        if f in want and want[f] != got.get(f):
            out.append(f'{f}: want {want[f]} got {got.get(f, got.get("origdst_errno"))}')
    return out


def run_one(args, name, cfg):
    """Runs inside a fresh network namespace."""
    rows = [json.loads(l) for l in open(f'{args.dir}/vectors/{name}.jsonl')]
    host_cgroup = cgroup2_root()
    pod_cgroup = f'{host_cgroup}/oracle-{os.getpid()}'
    os.mkdir(pod_cgroup)
    kids = []
    peer = None
    attached = False
    where = ['--netns', f'/proc/{os.getpid()}/ns/net', '--cgroup', pod_cgroup]
    outside = ['nsenter', f'--net=/proc/{os.getppid()}/ns/net', '--', args.bin]

    def attach():
        r = subprocess.run(outside + ['attach'] + where + cfg['args'], env={**os.environ, **cfg['env']},
                           capture_output=True, text=True,
                           preexec_fn=lambda: join_cgroup(host_cgroup))
        if r.returncode:
            raise SystemExit(f'{name}: attach exited {r.returncode}: {r.stderr.strip()[-2000:]}')
    try:
        sh('ip link set lo up; ip link add eth0 type veth peer name p0')
        peer = subprocess.Popen(['unshare', '-n', 'sleep', '300'])
        here = os.readlink('/proc/self/ns/net')
        for _ in range(500):
            if os.readlink(f'/proc/{peer.pid}/ns/net') != here:
                break
            time.sleep(0.01)
        else:
            raise SystemExit('the peer has no network namespace of its own')
        sh(f'ip link set p0 netns {peer.pid}')
        n = f'nsenter -t {peer.pid} -n '
        for c in (f'ip addr add {POD4}/24 dev eth0', f'ip -6 addr add {POD6}/64 dev eth0 nodad', 'ip link set eth0 up',
                  'ip -6 addr add ::6/128 dev lo nodad', n + 'ip link set lo up',
                  n + f'ip addr add {PEER4}/24 dev p0', n + f'ip -6 addr add {PEER6}/64 dev p0 nodad',
                  n + 'ip link set p0 up', 'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start'):
            sh(c)
        time.sleep(0.4)
        for c in (f'ip route add default via {PEER4}', f'ip -6 route add default via {PEER6}',
                  n + 'ip route add local 10.96.0.0/16 dev lo', n + 'ip route add local 1.1.0.0/16 dev lo',
                  n + 'ip route add local 9.9.0.0/16 dev lo', n + 'ip -6 route add local 2001:db8::/32 dev lo',
                  n + 'ip -6 route add local fd00:96::/64 dev lo', n + "sh -c 'echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind'"):
            sh(c)
        kids.append(fork(lambda: enter(peer.pid), APP + SIDECAR, 'ext'))
        join_cgroup(pod_cgroup)
        if not args.late:
            attach()
            attached = True
        uid, gid, tproxy = cfg['proxy_uid'], cfg['proxy_gid'], cfg['tproxy']
        kids.append(fork_server(APP, 1000, 1000))
        kids.append(fork_server([15001, 15006], 0 if tproxy else uid, gid, tproxy))
        kids.append(fork_server([15053], 0 if tproxy else uid, gid))
        if args.late:
            attach()
            attached = True
        bad = 0
        for row in rows:
            d = differences(row, probe(row, peer.pid, host_cgroup))
            if d:
                bad += 1
                if args.verbose or bad <= 5:
                    print(f"  {name}: {row['case']} {row['proto']} uid={row['uid']} gid={row['gid']} "
                          f"src={row['src']} -> {row['dst']}:{row['dport']}: " + '; '.join(d))
        print(f'{name}: {len(rows) - bad} of {len(rows)} rows match', flush=True)
        return len(rows) - bad, bad
    finally:
        join_cgroup(host_cgroup)
        if attached:
            subprocess.run(outside + ['detach'] + where, capture_output=True)
        for k in kids:
            os.kill(k, 9)
            os.waitpid(k, 0)
        if peer:
            peer.kill()
            peer.wait()
        for _ in range(20):
            try:
                os.rmdir(pod_cgroup)
                break
            except OSError:
                time.sleep(0.05)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--bin', required=True)
    p.add_argument('--dir', default=os.path.dirname(os.path.abspath(__file__)))
    p.add_argument('--only')
    p.add_argument('--late', action='store_true')
    p.add_argument('-v', '--verbose', action='store_true')
    args = p.parse_args()
    args.bin = os.path.abspath(args.bin)
    configs = json.load(open(f'{args.dir}/configs.json'))
    good = bad = 0
    for name, cfg in configs.items():
        if args.only and args.only != name:
            continue
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(r)
            code = 0
            try:
                if libc.unshare(CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), 'unshare')
                res = run_one(args, name, cfg)
            except SystemExit as e:
                print(e, flush=True)
                res = (0, sum(1 for _ in open(f'{args.dir}/vectors/{name}.jsonl')))
            os.write(w, json.dumps(res).encode())
            sys.stdout.flush()
            os._exit(code)
        os.close(w)
        out = os.read(r, 100)
        os.close(r)
        os.waitpid(pid, 0)
        g, b = json.loads(out) if out else (0, 1)
        good, bad = good + g, bad + b
    print(f'{good} passed, {bad} failed')
    return 1 if bad or not good else 0


if __name__ == '__main__':
    sys.exit(main())
