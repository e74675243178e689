package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/iamhttp/iamhttp/bench/internal/sim"
)

// describe describes a scenario in words.
func describe(s sim.Scenario) string { return describeCalls(s) + " (" + describeServer(s) + ")" }

func describeCalls(s sim.Scenario) string {
	how := "at once"
	if s.Arrivals.Load != 0 {
		how = fmt.Sprintf("at %.4g × the available rate", s.Arrivals.Load)
	}
	if s.Arrivals.OnOff {
		how += ", on and off,"
	}
	limit := fmt.Sprintf("%.4g requests/s", s.Server.Rate())
	if s.Server.Algorithm != sim.TokenBucket && s.Server.Window != time.Second {
		limit = fmt.Sprintf("%.4g requests in %.4g s", s.Server.Limit, s.Server.Window.Seconds())
	}
	return fmt.Sprintf("%d calls %s against %s", s.Arrivals.Calls, how, limit)
}

func describeServer(s sim.Scenario) string {
	kind := map[sim.Algorithm]string{
		sim.TokenBucket:   fmt.Sprintf("token bucket of %.4g", s.Server.Tokens()),
		sim.FixedWindow:   "fixed window",
		sim.SlidingWindow: "sliding window that counts refused requests",
	}[s.Server.Algorithm]
	if s.Server.Change != 0 {
		kind += fmt.Sprintf(", × %.4g halfway", s.Server.Change)
	}
	if s.Server.Strangers != 0 {
		kind += fmt.Sprintf(", strangers ask for %.0f%%", 100*s.Server.Strangers)
	}
	answers := map[sim.Answers]string{sim.Fast: "10 ms", sim.Slow: "1 s", sim.LogNormal: "about 20 to 200 ms"}[s.Answers]
	retryAfter := map[sim.RetryAfter]string{
		sim.Seconds: "Retry-After in seconds",
		sim.Date:    "Retry-After as a date",
		sim.Absent:  "no Retry-After",
		sim.Sixty:   "Retry-After: 60",
	}[s.RetryAfter]
	return kind + ", responds in " + answers + ", " + retryAfter
}

func writeTable(w io.Writer, fleet []contestant, results []sim.Result) {
	fmt.Fprintf(w, "\n**%s** `%v`\n\n", describe(results[0].Scenario), results[0].Scenario)
	fmt.Fprintln(w, "| client | sent per success | failed | time, × ideal | wait p50 / p99 | sent while told to wait | in flight |")
	fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|")
	ideal := results[0]
	fmt.Fprintf(w, "| (ideal: %s) | 1.00 | 0 | 1.00 | %s | 0 | |\n", span(ideal.IdealMakespan), waits(ideal.IdealWait))
	for i, r := range results {
		perOK, ratio := "–", "–"
		if r.OK > 0 {
			perOK = fmt.Sprintf("%.2f", r.SentPerOK())
		}
		if r.Failed == 0 {
			ratio = fmt.Sprintf("%.2f", r.MakespanRatio())
		}
		fmt.Fprintf(w, "| %v | %s | %d | %s | %s | %d | %d |\n", fleet[i], perOK, r.Failed, ratio, waits(r.Wait), r.Forbidden, r.MaxInFlight)
	}
}

func waits(sorted []time.Duration) string {
	if len(sorted) == 0 {
		return "–"
	}
	return span(sim.Quantile(sorted, 0.5)) + " / " + span(sim.Quantile(sorted, 0.99))
}

// span formats a duration with a unit and a number of digits that are easy to read.
func span(d time.Duration) string {
	if d < time.Millisecond {
		return "0"
	}
	unit := cmp.Or(min(d, time.Second)/time.Second*time.Second, time.Millisecond)
	digits := 1
	if v := d / unit; v >= 10 {
		digits = 0
	}
	return fmt.Sprintf("%.*f %s", digits, float64(d)/float64(unit), map[time.Duration]string{time.Second: "s", time.Millisecond: "ms"}[unit])
}

func writeCSVHeader(w io.Writer) {
	fmt.Fprintln(w, "client,attempts,server,retry_after,arrivals,answers,seed,sent,refused,ok,failed,forbidden,max_in_flight,"+
		"makespan_s,ideal_makespan_s,wait_p50_s,wait_p99_s,ideal_wait_p50_s,ideal_wait_p99_s")
}

func writeCSV(w io.Writer, c contestant, r sim.Result) {
	s := r.Scenario
	fmt.Fprintf(w, "%s,%d,%v,%s,%v,%s,%d,%d,%d,%d,%d,%d,%d", c.Name, c.attempts, s.Server, s.RetryAfter, s.Arrivals, s.Answers, s.Seed,
		r.Sent, r.Refused, r.OK, r.Failed, r.Forbidden, r.MaxInFlight)
	for _, d := range []time.Duration{
		r.Makespan, r.IdealMakespan,
		sim.Quantile(r.Wait, 0.5), sim.Quantile(r.Wait, 0.99),
		sim.Quantile(r.IdealWait, 0.5), sim.Quantile(r.IdealWait, 0.99),
	} {
		fmt.Fprintf(w, ",%.6f", d.Seconds())
	}
	fmt.Fprintln(w)
}
