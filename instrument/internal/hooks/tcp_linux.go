package hooks

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redial-dev/redial/instrument/event"
)

// tcpStates are the kernel's names, by number (include/net/tcp_states.h).
var tcpStates = [...]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
	7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}

// probeOf returns a function that asks the kernel about a TCP connection, or nil if it is none.
func probeOf(conn net.Conn) func() *event.TCP {
	sc, ok := conn.(syscall.Conn)
	if !ok || conn.LocalAddr().Network() != "tcp" {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func() (tcp *event.TCP) {
		err := raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err != nil || int(info.State) >= len(tcpStates) {
				return
			}
			tcp = &event.TCP{
				State:       tcpStates[info.State],
				RTT:         time.Duration(info.Rtt) * time.Microsecond,
				Retransmits: int64(info.Total_retrans),
				Unacked:     int64(info.Unacked),
				Idle:        time.Duration(info.Last_data_recv) * time.Millisecond,
				SendIdle:    time.Duration(info.Last_data_sent) * time.Millisecond,

				MinRTT:       time.Duration(info.Min_rtt) * time.Microsecond,
				DeliveryRate: info.Delivery_rate,
				Sent:         int64(info.Data_segs_out),
				Spurious:     int64(info.Dsack_dups),
			}
		})
		if err != nil { // Closed already: nothing is known.
			return nil
		}
		return tcp
	}
}
