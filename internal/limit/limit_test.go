package limit

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

var now = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// header returns a header with the given names and values, which alternate.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// If the policy were looked up for each window, this would take more than half an hour.
func TestLongStatementIsReadInTimeProportionalToItsLength(t *testing.T) {
	var b strings.Builder
	b.WriteString("policy user over ratelimit")
	for i := 1; b.Len() < 8<<20; i++ {
		fmt.Fprintf(&b, ",limit:1,time:%ds", i)
	}
	want := OfMessage("policy user over ratelimit,limit:1,time:31 day")
	assert.Equal(t, "user", want.Policy)
	s := b.String() + ",limit:1,time:31 day"
	assert.Equal(t, want, OfMessage(s))
	assert.Equal(t, Limit{Requests: 1, Per: 31 * 24 * time.Hour, Policy: "user"}, Of(header("X-Apig-Ratelimit-User", strings.Replace(s, "policy user over ratelimit", "remain:0", 1)), now, Any))
}

func TestLimitsAreReadFromTheHeader(t *testing.T) {
	long := strings.Repeat("x", 65)
	for name, tt := range map[string]struct {
		h    http.Header
		want Limit
	}{
		"no header":               {nil, Limit{}},
		"X-Retry-After":           {header("X-Retry-After", "58"), Limit{Reset: 58 * time.Second}},
		"X-RateLimit-Retry-After": {header("X-RateLimit-Retry-After", "7"), Limit{Reset: 7 * time.Second}},
		"X-Retry-After and X-RateLimit-Retry-After: the longer wait counts":  {header("X-Retry-After", "5", "X-RateLimit-Retry-After", "7"), Limit{Reset: 7 * time.Second}},
		"the fields of SAP's middleware":                                     {header("X-RateLimit-Limit", "60r/m", "X-RateLimit-Remaining", "0", "X-Retry-After", "58", "X-RateLimit-Retry-After", "58"), Limit{Requests: 60, Per: time.Minute, Reset: 58 * time.Second}},
		"SAP's middleware with a window of five minutes":                     {header("X-RateLimit-Limit", "60r/5m"), Limit{Requests: 60, Per: 5 * time.Minute}},
		"a window of five milliseconds":                                      {header("X-RateLimit-Limit", "60r/5ms"), Limit{}},
		"the fields of Envoy":                                                {header("x-ratelimit-limit", "10, 10;w=60", "x-ratelimit-remaining", "0", "x-ratelimit-reset", "41"), Limit{Requests: 10, Per: time.Minute, Reset: 41 * time.Second}},
		"only the reset from Envoy":                                          {header("x-ratelimit-reset", "41"), Limit{Reset: 41 * time.Second}},
		"a reset as a time, relative to Date":                                {header("X-RateLimit-Reset", "1000000060", "Date", "Sun, 09 Sep 2001 01:46:40 GMT"), Limit{Reset: time.Minute}},
		"a reset as a time, relative to the arrival":                         {header("X-Rate-Limit-Reset", "1795867230"), Limit{Reset: 30 * time.Second}},
		"a reset in the past":                                                {header("X-RateLimit-Reset", "1000000000"), Limit{}},
		"RateLimit of an older draft with 16 members":                        {header("RateLimit", "limit=100, reset=50"+strings.Repeat(", x=1", 14)), Limit{Requests: 100, Reset: 50 * time.Second}},
		"RateLimit of an older draft with too many members":                  {header("RateLimit", "limit=100, reset=50"+strings.Repeat(", x=1", 15)), Limit{}},
		"RateLimit-Reset of an older draft":                                  {header("RateLimit-Limit", "100", "RateLimit-Remaining", "0", "RateLimit-Reset", "50"), Limit{Requests: 100, Reset: 50 * time.Second}},
		"RateLimit-Limit and RateLimit-Policy of an older draft":             {header("RateLimit-Limit", "200", "RateLimit-Policy", `10;w=1, 200;w=300;comment="x"`), Limit{Requests: 200, Per: 5 * time.Minute}},
		"RateLimit-Limit with a window, and another one in RateLimit-Policy": {header("RateLimit-Limit", "200, 200;w=60", "RateLimit-Policy", "200;w=300"), Limit{Requests: 200, Per: time.Minute}},
		"RateLimit-Limit and a malformed RateLimit-Policy":                   {header("RateLimit-Limit", "200", "RateLimit-Policy", "200;w=6e1", "RateLimit-Reset", "50"), Limit{Requests: 200, Reset: 50 * time.Second}},
		"RateLimit-Limit and a policy with another quota":                    {header("RateLimit-Limit", "200", "RateLimit-Policy", "10;w=1"), Limit{Requests: 200}},
		"X-RateLimit-Limit and RateLimit-Policy of an older draft":           {header("X-RateLimit-Limit", "200", "RateLimit-Policy", "200;w=300"), Limit{Requests: 200}},
		"the fields of the IETF draft":                                       {header("RateLimit", `"default";r=0;t=30`, "RateLimit-Policy", `"default";q=50;w=60`), Limit{Requests: 50, Per: time.Minute, Reset: 30 * time.Second, Policy: "default"}},
		"two policies: the used-up one counts":                               {header("RateLimit", `"daily";r=100;t=9000, "burst";r=0;t=5`, "RateLimit-Policy", `"daily";q=1000;w=86400, "burst";q=10;w=6`), Limit{Requests: 10, Per: 6 * time.Second, Reset: 5 * time.Second, Policy: "burst"}},
		"two used-up policies, one with an enormous t":                       {header("RateLimit", `"a";r=0;t=58, "b";r=0;t=99999999`), Limit{Reset: 58 * time.Second, Policy: "a"}},
		"two lines of RateLimit-Policy":                                      {header("RateLimit-Policy", `"a";q=10;w=60`, "RateLimit-Policy", `"b";q=20;w=60`, "RateLimit", `"b";r=0;t=3`), Limit{Requests: 20, Per: time.Minute, Reset: 3 * time.Second, Policy: "b"}},
		"only a policy":                                                      {header("RateLimit-Policy", `"a";q=10;w=60`), Limit{Requests: 10, Per: time.Minute, Policy: "a"}},
		"two policies without RateLimit":                                     {header("RateLimit-Policy", `"a";q=10;w=60, "b";q=20;w=60`), Limit{}},
		"a quota of bytes":                                                   {header("RateLimit-Policy", `"a";q=10;qu="content-bytes";w=60`), Limit{}},
		"a partition key and other parameters":                               {header("RateLimit", `"a";r=0;t=9;pk=:dHdlbHZl:`, "RateLimit-Policy", `"a";q=10;w=60;pk=:dHdlbHZl:;x=1.5;y;z="q;t=1"`), Limit{Requests: 10, Per: time.Minute, Reset: 9 * time.Second, Policy: "a"}},
		"a parameter that is a date":                                         {header("RateLimit", `"a";r=0;t=30;x=@1659578233;y=@-1;z=1`), Limit{Reset: 30 * time.Second, Policy: "a"}},
		"a parameter that is a display string":                               {header("RateLimit", `"a";r=0;t=30;x=%"f%c3%bc \\";y=%""`), Limit{Reset: 30 * time.Second, Policy: "a"}},
		"parameters that are long strings and tokens":                        {header("RateLimit", `"a";r=0;t=30;x="`+long+`";y=`+long, "RateLimit-Policy", `"a";q=10;w=60;comment="`+long+`"`), Limit{Requests: 10, Per: time.Minute, Reset: 30 * time.Second, Policy: "a"}},
		"long names":                                                                 {header("RateLimit", `"`+long+`";r=0;t=30, t`+long+`;r=0;t=7`, "RateLimit-Policy", `"`+long+`";q=10;w=60`), Limit{Requests: 10, Per: time.Minute, Reset: 30 * time.Second}},
		"malformed, with an empty date":                                              {header("RateLimit", `"a";r=0;t=30;x=@`), Limit{}},
		"malformed, with a fractional date":                                          {header("RateLimit", `"a";r=0;t=30;x=@1.5`), Limit{}},
		"malformed, with a display string without an end":                            {header("RateLimit", `"a";r=0;t=30;x=%"b`), Limit{}},
		"malformed, with a display string with half a character":                     {header("RateLimit", `"a";r=0;t=30;x=%"%c3"`), Limit{}},
		"malformed, with a display string without a quotation mark":                  {header("RateLimit", `"a";r=0;t=30;x=%b`), Limit{}},
		"an older RateLimit with a date and a long string":                           {header("RateLimit", `limit=100;x=@1659578233, remaining=0, reset=50, policy="`+long+`"`), Limit{Requests: 100, Reset: 50 * time.Second}},
		"a name with escaped characters that a policy repeats":                       {header("RateLimit", `"a\\\"b";r=0;t=9`, "RateLimit-Policy", `"a\\\"b";q=10;w=60`), Limit{Requests: 10, Per: time.Minute, Reset: 9 * time.Second}},
		"sixteen parameters":                                                         {header("RateLimit", `"a";r=0;t=9`+strings.Repeat(";x", 14)), Limit{Reset: 9 * time.Second, Policy: "a"}},
		"seventeen parameters":                                                       {header("RateLimit", `"a";r=0;t=9`+strings.Repeat(";x", 15)), Limit{}},
		"RateLimit of an older draft":                                                {header("RateLimit", "limit=100, remaining=0, reset=50"), Limit{Requests: 100, Reset: 50 * time.Second}},
		"RateLimit and a policy of an older draft":                                   {header("RateLimit", "limit=100, remaining=0, reset=50", "RateLimit-Policy", `10;w=1, 100;w=60;comment="x"`), Limit{Requests: 100, Per: time.Minute, Reset: 50 * time.Second}},
		"an older RateLimit without spaces, in two lines":                            {header("RateLimit", "reset=50,limit=100", "RateLimit", "remaining=0"), Limit{Requests: 100, Reset: 50 * time.Second}},
		"an older RateLimit with unknown members":                                    {header("RateLimit", `limit=100;x="a,b", remaining=0, reset=50, y, z="c"`), Limit{Requests: 100, Reset: 50 * time.Second}},
		"an older RateLimit with only a reset":                                       {header("RateLimit", "reset=50"), Limit{Reset: 50 * time.Second}},
		"an older RateLimit with only the remaining requests":                        {header("RateLimit", "remaining=0"), Limit{}},
		"an older RateLimit: requests remain":                                        {header("RateLimit", "limit=100, remaining=5, reset=50"), Limit{Requests: 100, Remaining: 5, Reset: 50 * time.Second}},
		"an older RateLimit with two resets: the last one counts":                    {header("RateLimit", "reset=5, reset=50"), Limit{Reset: 50 * time.Second}},
		"an older RateLimit and a longer reset of Envoy":                             {header("RateLimit", "limit=100, remaining=0, reset=50", "x-ratelimit-reset", "58"), Limit{Requests: 100, Reset: 58 * time.Second}},
		"an older RateLimit: requests remain, but another limit is used up":          {header("RateLimit", "limit=100, remaining=5, reset=50", "x-ratelimit-reset", "7"), Limit{Requests: 100, Reset: 7 * time.Second}},
		"an older RateLimit with a malformed policy":                                 {header("RateLimit", "limit=100, reset=50", "RateLimit-Policy", "100;w=6e1"), Limit{Requests: 100, Reset: 50 * time.Second}},
		"an older RateLimit with a trailing comma":                                   {header("RateLimit", "limit=100, reset=50,"), Limit{}},
		"an older RateLimit with semicolons":                                         {header("RateLimit", "limit=100; remaining=0; reset=50"), Limit{Requests: 100}},
		"an older RateLimit with a negative reset":                                   {header("RateLimit", "limit=100, reset=-50"), Limit{Requests: 100}},
		"an older RateLimit with a fractional reset":                                 {header("RateLimit", "limit=100, reset=5.5"), Limit{Requests: 100}},
		"an older RateLimit with a reset as a time":                                  {header("RateLimit", "limit=100, reset=1795867230"), Limit{Requests: 100}},
		"an older RateLimit with enormous values":                                    {header("RateLimit", "limit=999999999999999, remaining=999999999999999, reset=999999999999999"), Limit{}},
		"an older RateLimit with a value that overflows":                             {header("RateLimit", "limit=100, reset=99999999999999999999"), Limit{}},
		"an older RateLimit with a limit of 0":                                       {header("RateLimit", "limit=0, reset=50"), Limit{Reset: 50 * time.Second}},
		"malformed, with a trailing comma":                                           {header("RateLimit", `"a";r=0;t=9,`), Limit{}},
		"malformed, with an unclosed quote":                                          {header("RateLimit", `"a;r=0;t=9`), Limit{}},
		"a negative t in RateLimit":                                                  {header("RateLimit", `"a";r=0;t=-9`), Limit{}},
		"an enormous t in RateLimit":                                                 {header("RateLimit", `"a";r=0;t=999999999999999`), Limit{}},
		"an enormous reset":                                                          {header("X-RateLimit-Reset", "99999999999999999999"), Limit{}},
		"a negative reset":                                                           {header("X-RateLimit-Reset", "-5"), Limit{}},
		"a fractional reset":                                                         {header("X-RateLimit-Reset", "5.5"), Limit{}},
		"a limit of 0":                                                               {header("X-RateLimit-Limit", "0"), Limit{}},
		"a limit with an unknown unit":                                               {header("X-RateLimit-Limit", "60r/fortnight"), Limit{}},
		"a limit with a slash but no unit":                                           {header("X-RateLimit-Limit", "60r/"), Limit{}},
		"only X-RateLimit-Remaining":                                                 {header("X-RateLimit-Remaining", "0"), Limit{}},
		"only the remaining requests in RateLimit":                                   {header("RateLimit", `"a";r=0`), Limit{}},
		"a quota of requests":                                                        {header("RateLimit-Policy", `"a";q=10;qu="requests";w=60`), Limit{Requests: 10, Per: time.Minute, Policy: "a"}},
		"a quota of requests, as a token":                                            {header("RateLimit-Policy", `a;q=10;qu=requests;w=60`), Limit{Requests: 10, Per: time.Minute, Policy: "a"}},
		"a quota of requests, as in earlier drafts":                                  {header("RateLimit-Policy", `"a";q=10;w=60;qu="request"`, "RateLimit", `"a";r=0;t=10`), Limit{Requests: 10, Per: time.Minute, Reset: 10 * time.Second, Policy: "a"}},
		"a quota of concurrent requests":                                             {header("RateLimit-Policy", `"a";q=10;qu="concurrent-requests";w=60`), Limit{}},
		"a quota unit without a value":                                               {header("RateLimit-Policy", `"a";q=10;qu;w=60`), Limit{}},
		"a limit with a comma in a quoted parameter":                                 {header("X-RateLimit-Limit", `200, 200;w=300;name="a,b, ü"`), Limit{Requests: 200, Per: 5 * time.Minute}},
		"a limit with a semicolon and a window in a quoted parameter":                {header("X-RateLimit-Limit", `200;name="a\";w=5, 200;w=7";w=300`), Limit{Requests: 200, Per: 5 * time.Minute}},
		"a limit with an unclosed quote":                                             {header("X-RateLimit-Limit", `200;w=300;name="a`), Limit{}},
		"a limit with a quotation mark between digits":                               {header("X-RateLimit-Limit", `2"a"00`), Limit{}},
		"RateLimit-Policy of an older draft with a comma in a quoted parameter":      {header("RateLimit", "limit=200, reset=50", "RateLimit-Policy", `200;w=300;comment="a, b"`), Limit{Requests: 200, Per: 5 * time.Minute, Reset: 50 * time.Second}},
		"digits in groups":                                                           {header("X-RateLimit-Limit", "1,000"), Limit{}},
		"a limit with an exponent":                                                   {header("X-RateLimit-Limit", "2e3"), Limit{}},
		"a fractional limit":                                                         {header("X-RateLimit-Limit", "1.5r/m"), Limit{}},
		"a limit with a malformed policy":                                            {header("X-RateLimit-Limit", "10, 10;w=6e1"), Limit{}},
		"a limit with a malformed window":                                            {header("X-RateLimit-Limit", "60;w=-5"), Limit{}},
		"a limit with a fractional window":                                           {header("X-RateLimit-Limit", "60r/1.5m"), Limit{}},
		"Envoy with two policies":                                                    {header("x-ratelimit-limit", "10, 10;w=1, 50;w=60", "x-ratelimit-reset", "1"), Limit{Requests: 10, Per: time.Second, Reset: time.Second}},
		"a statement other than the one that asks to wait says that requests remain": {header("RateLimit", `"b";r=0;t=58`, "X-RateLimit-Remaining", "7"), Limit{Reset: 58 * time.Second, Policy: "b"}},
		"requests remain until a later reset, but another limit is used up":          {header("RateLimit", `"b";r=0;t=58`, "X-RateLimit-Reset", "3000", "X-RateLimit-Remaining", "7"), Limit{Reset: 58 * time.Second, Policy: "b"}},
		"X-Retry-After and a policy":                                                 {header("X-Retry-After", "58", "RateLimit-Policy", `"a";q=10;w=60`), Limit{Requests: 10, Per: time.Minute, Reset: 58 * time.Second, Policy: "a"}},
		"X-Retry-After although requests remain":                                     {header("X-Retry-After", "58", "X-RateLimit-Remaining", "5", "X-RateLimit-Limit", "60"), Limit{Requests: 60, Reset: 58 * time.Second}},
		"a reset of one family and the remaining requests of another":                {header("X-RateLimit-Reset", "58", "RateLimit-Remaining", "1"), Limit{Reset: 58 * time.Second}},
		"two resets: the longer counts":                                              {header("RateLimit", `"b";r=0;t=7`, "X-RateLimit-Reset", "58"), Limit{Reset: 58 * time.Second}},
		"X-Retry-After comes before longer resets":                                   {header("X-Retry-After", "5", "RateLimit", `"b";r=0;t=7`, "X-RateLimit-Reset", "58"), Limit{Reset: 5 * time.Second}},
		"X-RateLimit-Retry-After comes before longer resets":                         {header("X-RateLimit-Retry-After", "5", "X-RateLimit-Limit", "60", "X-RateLimit-Reset", "58"), Limit{Requests: 60, Reset: 5 * time.Second}},
		"X-Retry-After of 0 and a reset":                                             {header("X-Retry-After", "0", "X-RateLimit-Reset", "58"), Limit{Reset: 58 * time.Second}},
		"X-Retry-After of years and a reset":                                         {header("X-Retry-After", "99999999", "X-RateLimit-Reset", "58"), Limit{Reset: 58 * time.Second}},
		"a malformed X-Retry-After and a reset":                                      {header("X-Retry-After", "5.5", "X-RateLimit-Reset", "58"), Limit{Reset: 58 * time.Second}},
		"a reset of one family takes precedence over a window of another":            {header("X-RateLimit-Limit", "60r/h", "RateLimit-Reset", "5"), Limit{Requests: 60, Per: time.Hour, Reset: 5 * time.Second}},
		"X-Rate-Limit-Retry-After-Seconds":                                           {header("X-Rate-Limit-Retry-After-Seconds", "16841", "X-Rate-Limit-Reset", "58"), Limit{Reset: 16841 * time.Second}}, // Bucket4j
		"a malformed X-Rate-Limit-Retry-After-Seconds":                               {header("X-Rate-Limit-Retry-After-Seconds", "-5", "X-Rate-Limit-Reset", "58"), Limit{Reset: 58 * time.Second}},
		"a reset in milliseconds, relative to Date":                                  {header("X-RateLimit-Reset", "1000000060250", "Date", "Sun, 09 Sep 2001 01:46:40 GMT"), Limit{Reset: 60*time.Second + 250*time.Millisecond}},
		"a reset in milliseconds, relative to the arrival":                           {header("X-Rate-Limit-Reset", "1795867230500"), Limit{Reset: 30*time.Second + 500*time.Millisecond}},
		"a reset in milliseconds, in the past":                                       {header("X-RateLimit-Reset", "1000000000000"), Limit{}},
		"a reset in milliseconds, years ahead":                                       {header("X-RateLimit-Reset", "9999999999999"), Limit{}},
		"a reset of 13 digits that is no time":                                       {header("X-RateLimit-Reset", "0000000058000"), Limit{Reset: 0}},
		"a reset of 12 or 14 digits, or with another sign":                           {header("X-RateLimit-Reset", "179586723050", "X-RateLimit-Reset", "17958672305000", "X-RateLimit-Reset", "179586723.500", "X-RateLimit-Reset", "-179586723050", "X-RateLimit-Reset", "17958672305x0"), Limit{}},
		"remaining requests with a window":                                           {header("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=21600"), Limit{Requests: 100, Per: 6 * time.Hour, Remaining: 76}}, // Docker Hub
		"remaining requests with a malformed window":                                 {header("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=6e1"), Limit{Requests: 100, Per: 6 * time.Hour}},
		"requests remain":                                                            {header("X-RateLimit-Limit", "60", "X-RateLimit-Reset", "58", "X-RateLimit-Remaining", "5"), Limit{Requests: 60, Reset: 58 * time.Second, Remaining: 5}},
		"the gateway's debug mode":                                                   {header("X-Apig-RateLimit-api", "remain:9,limit:10,time:10 second", "X-Apig-RateLimit-user", "remain:0,limit:200,time:5 minute"), Limit{Requests: 200, Per: 5 * time.Minute, Policy: "user"}},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, Of(tt.h, now, Any)) })
	}
}

func TestLimitsAreReadFromTheMessage(t *testing.T) {
	const begin = "The throttling threshold has been reached: "
	for message, want := range map[string]Limit{
		begin + "policy user over ratelimit,limit:200,time:5 minute":                              {Requests: 200, Per: 5 * time.Minute, Policy: "user"},
		begin + "policy api over ratelimit,limit:1,time:1 second":                                 {Requests: 1, Per: time.Second, Policy: "api"},
		begin + "policy ip over ratelimit, time:2 hour, limit: 7":                                 {Requests: 7, Per: 2 * time.Hour, Policy: "ip"},
		begin + "policy app over ratelimit,limit:50,time:1 day":                                   {Requests: 50, Per: 24 * time.Hour, Policy: "app"},
		begin + "POLICY User OVER RATELIMIT,LIMIT:9,TIME:10 MINUTES":                              {Requests: 9, Per: 10 * time.Minute, Policy: "user"},
		begin + "limit:9,time:10minutes":                                                          {Requests: 9, Per: 10 * time.Minute},
		"IAM.0012: too many requests. Threshold: 10 times per 60 seconds":                         {Requests: 10, Per: time.Minute},
		"Threshold: %d times per %d seconds":                                                      {},
		begin + "policy user over ratelimit,limit:1,000,time:5 minute":                            {},
		begin + "policy user over ratelimit,limit:2e3,time:5 minute":                              {},
		begin + "policy user over ratelimit,limit:1 000,time:5 minute":                            {},
		begin + "policy user over ratelimit,limit:1.5,time:5 minute":                              {},
		begin + "policy user over ratelimit,limit:1_000,time:5 minute":                            {},
		begin + "policy user over ratelimit,limit:0x10,time:5 minute":                             {},
		begin + "policy user over ratelimit,limit:200,time:5.5 minute":                            {},
		begin + "policy user over ratelimit,limit:200,time:1,000 second":                          {},
		begin + "policy user over ratelimit,limit:200,time:1e1 minute":                            {},
		begin + "policy user over ratelimit,limit:200,time:1 hour 30 minute":                      {},
		begin + "policy user over ratelimit,limit:200,time:5 minutes.":                            {Requests: 200, Per: 5 * time.Minute, Policy: "user"},
		begin + "policy user over ratelimit,limit:200 times,time:5 minute (per user)":             {Requests: 200, Per: 5 * time.Minute, Policy: "user"},
		begin + "policy user over ratelimit,time:5 minute,limit:200.":                             {Requests: 200, Per: 5 * time.Minute, Policy: "user"},
		begin + "policy api over ratelimit,limit:5,time:1 second,policy user,limit:10,time:1 day": {Requests: 10, Per: 24 * time.Hour, Policy: "user"},
		begin + "policy user over ratelimit,limit:10,time:1 day,policy api,limit:5,time:1 second": {Requests: 10, Per: 24 * time.Hour, Policy: "user"},
		begin + "policy user over ratelimit,limit:10,time:1 day,limit:5":                          {},
		"Threshold: 1,000 times per 60 seconds":                                                   {},
		"Threshold: 2e3 times per 60 seconds":                                                     {},
		"Threshold: 10 times per 1.5 minutes":                                                     {},
		begin + "limit:5,time:1 second. Threshold: 10 times per 60 seconds":                       {Requests: 10, Per: time.Minute},
		begin + "policy user over ratelimit,limit:0,time:5 minute":                                {},
		begin + "policy user over ratelimit,limit:-1,time:5 minute":                               {},
		begin + "policy user over ratelimit,limit:9,time:0 minute":                                {},
		begin + "policy user over ratelimit,limit:9,time:5 parsec":                                {},
		begin + "policy user over ratelimit,limit:9,time:99999999 day":                            {},
		begin + "policy user over ratelimit,limit:99999999999,time:1 s":                           {},
		"the time limit: 5 minutes":                                                               {},
		"Slow down.":                                                                              {}, "": {},
	} {
		t.Run(message, func(t *testing.T) { assert.Equal(t, want, OfMessage(message)) })
	}
}

func TestRetryInfoInTheBodyStatesAWait(t *testing.T) {
	const body = `{"error":{"code":429,"message":%q,"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":%q}]}}`
	for _, tt := range []struct {
		h              http.Header
		message, delay string
		want           Limit
	}{
		{nil, "Slow down.", "53s", Limit{Reset: 53 * time.Second}},
		{nil, "Slow down.", "45.837906927s", Limit{Reset: 46 * time.Second}},
		{nil, "Slow down.", "-53s", Limit{}},
		{nil, "Slow down.", "soon", Limit{}},
		{nil, "Slow down.", "2678400s", Limit{Reset: 31 * 24 * time.Hour}},
		{nil, "Slow down.", "2678401s", Limit{}},
		{nil, "Slow down.", "18446744073709551617s", Limit{}},
		{nil, "limit:200,time:5 minute", "-53s", Limit{Requests: 200, Per: 5 * time.Minute}},
		{header("X-RateLimit-Reset", "58"), "Slow down.", "53s", Limit{Reset: 58 * time.Second}},
		{header("X-RateLimit-Reset", "50"), "Slow down.", "53s", Limit{Reset: 53 * time.Second}},
	} {
		assert.Equal(t, tt.want, Stated(tt.h, fmt.Appendf(nil, body, tt.message, tt.delay), 429, now, Any), "%s, %s", tt.message, tt.delay)
	}
}

func TestWaitsThatAreTooLongDoNotHideShorterOnes(t *testing.T) {
	h := header("X-RateLimit-Reset", "3000", "RateLimit", `"b";r=0;t=7`)
	policies := header("RateLimit", `"a";r=0;t=58, "b";r=0;t=3000, "c";r=9;t=10`)
	asks := header("X-Retry-After", "58", "X-RateLimit-Reset", "3000", "RateLimit", `"b";r=0;t=7`)
	for _, tt := range []struct {
		h           http.Header
		bound, want time.Duration
	}{
		{h, Any, 3000 * time.Second},
		{h, 3000 * time.Second, 7 * time.Second},
		{policies, Any, 3000 * time.Second},
		{policies, 3000 * time.Second, 58 * time.Second},
		{asks, Any, 58 * time.Second},
		{asks, 59 * time.Second, 58 * time.Second},
		{asks, 58 * time.Second, 7 * time.Second},
	} {
		got, _ := Of(tt.h, now, tt.bound).Wait()
		assert.Equal(t, tt.want, got, "%v, waits shorter than %v", tt.h, tt.bound)
	}
	h = header("X-RateLimit-Limit", "60r/s")
	got, fromWindow := Stated(h, []byte(`{"message":"limit:200,time:5 minute"}`), 429, now, time.Minute).Wait()
	assert.Equal(t, time.Second/3, got)
	assert.True(t, fromWindow)
}

func FuzzLimit(f *testing.F) {
	f.Add("58", `"default";r=0;t=30`, `"default";q=50;w=60`, "1795867230", "60r/m", "policy user over ratelimit,limit:200,time:5 minute")
	f.Add("5", "limit=100, remaining=0, reset=50", "10;w=1, 100;w=60", "1795867230", "60r/m", "")
	f.Add("5", "limit=100;x=1, remaining=7, reset=50, y", `"a";q=10;w=60`, "30", "60, 60;w=7", "")
	f.Add("soon", `"a";r=0;t=30;b=@-1;c=%"f%c3%bc"`, `"a";q=10;w=60;d="x,y"`, "30", "60, 60;w=7", "")
	f.Add("-1", `a;b=?1;c=:x:`, `"a";q=1.5;w=-1`, "99999999999999999999", "10, 10;w=60", "Threshold: 10 times per 60 seconds")
	f.Fuzz(func(t *testing.T, retryAfter, rateLimit, policy, reset, quota, message string) {
		h := http.Header{"X-Retry-After": {retryAfter}, "Ratelimit": {rateLimit}, "Ratelimit-Policy": {policy}, "X-Ratelimit-Reset": {reset}, "X-Ratelimit-Limit": {quota}}
		l := Of(h, now, Any)
		whole, _ := l.Wait()
		if asked, _ := Of(http.Header{"X-Retry-After": {retryAfter}}, now, Any).Wait(); asked > 0 && asked != whole {
			t.Fatalf("X-Retry-After asks for %v, but the wait is %v", asked, whole)
		} else if asked == 0 {
			for _, part := range []http.Header{{"X-Ratelimit-Reset": {reset}, "X-Ratelimit-Limit": {quota}, "Ratelimit-Policy": {policy}}, {"X-Ratelimit-Reset": {reset}, "X-Ratelimit-Limit": {quota}}, {"Ratelimit": {rateLimit}, "Ratelimit-Policy": {policy}}} {
				if alone, guess := Of(part, now, Any).Wait(); alone > whole && !guess {
					t.Fatalf("the other statements shorten the wait of %v from %v to %v", part, alone, whole)
				}
			}
		}
		if text := OfMessage(message); text != (Limit{}) {
			if text.Requests <= 0 || text.Per <= 0 || text.Requests > mostRequests || text.Per > longest {
				t.Fatalf("a value is out of range: %+v", text)
			}
		}
		if l.Requests < 0 || l.Requests > mostRequests || l.Per < 0 || l.Per > longest || l.Remaining < 0 || l.Reset < 0 || l.Reset > longest || len(l.Policy) > 64 {
			t.Fatalf("a value is out of range: %+v", l)
		}
		if l.Requests == 0 && (l.Per != 0 || l.Reset == 0 && l.Remaining != 0) {
			t.Fatalf("Per is set without Requests, or Remaining without Requests and Reset: %+v", l)
		}
	})
}
