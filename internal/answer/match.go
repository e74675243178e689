package answer

import "strings"

// A Text is a pattern for a sentence in a message. The sentence must match all lines of
// Words. A line holds alternatives, separated by bars. In an alternative, a star stands
// for the rest of a word, and a space for any white space and punctuation. Lines are in
// lower case; the case of the message does not matter.
//
//	password|login*    one of the alternatives occurs in the sentence
//	^locked            … at its beginning
//	!expire*           … and is stated as a fact: "expired", not "not expired", "will
//	                   expire" or "if it expires"
//	account ~ locked   the sentence says that the account is locked: "the account is
//	                   locked", "account bob was locked", not "the file is locked by this
//	                   account" or "account policy: locked after 3 attempts"
//	decrypt > token    "token" follows "decrypt", with at most a name and then linking
//	                   words between them
//	!decrypt > token   … and is stated as a fact
//	nbf|iat & future   one of each occurs in the same clause
//	-locked            none of the alternatives occurs in the sentence; a minus can also
//	                   precede the other forms
type Text struct {
	Words   []string
	Reason  Reason
	Example string
}

// told returns the reason of the first text that matches a sentence of the message, or
// Unknown.
func told(message string, texts []Text) Reason {
	for i := range texts {
		for rest := message; rest != ""; {
			var s string
			s, rest = sentence(rest)
			if fits(s, texts[i].Words) {
				return texts[i].Reason
			}
		}
	}
	return Unknown
}

// sentence cuts the first sentence off a text.
func sentence(text string) (first, rest string) {
	for i := range len(text) {
		switch text[i] {
		case '\n':
			return text[:i], text[i+1:]
		case '.', ';', '!', '?':
			if i+1 == len(text) || isSpace(text[i+1]) {
				return text[:i], text[i+1:]
			}
		}
	}
	return text, ""
}

// clause cuts the first clause off a sentence.
func clause(s string) (first, rest string) {
	for i := range len(s) {
		switch s[i] {
		case '(', ')', '[', ']':
			return s[:i], s[i+1:]
		case ',', ':', ';', '-':
			if i+1 < len(s) && isSpace(s[i+1]) {
				return s[:i], s[i+1:]
			}
		}
	}
	return s, ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func fits(s string, words []string) bool {
	for _, line := range words {
		line, no := strings.CutPrefix(line, "-")
		if fitsLine(s, line) == no {
			return false
		}
	}
	return true
}

func fitsLine(s, line string) bool {
	if first, ok := strings.CutPrefix(line, "^"); ok {
		return startsWith(s, strings.TrimLeft(s, " \t\r"), first)
	}
	if left, right, both := strings.Cut(line, " & "); both {
		for s != "" {
			var c string
			if c, s = clause(s); fitsLine(c, left) && fitsLine(c, right) {
				return true
			}
		}
		return false
	}
	line, fact := strings.CutPrefix(line, "!")
	left, right, subject := strings.Cut(line, " ~ ")
	linked := subject
	if !subject {
		left, right, linked = strings.Cut(line, " > ")
	}
	for more := true; more; {
		var phrase string
		phrase, left, more = strings.Cut(left, "|")
		for from := 0; ; {
			at, n := find(s[from:], phrase)
			if at < 0 {
				break
			}
			at += from
			from = at + n
			if isToken(phrase) && !renewable(s, at) || phrase == "session" && !isLogin(s, at) {
				continue
			}
			end, been := from, false
			if linked {
				if end, been = follows(s, from, right); end < 0 {
					continue
				}
			}
			if subject && !isSubject(s, at) || linked && actsOn(s[end:]) || linked && forOther(s, at, end) ||
				fact && linked && beginsName(s, at, end) ||
				(fact || subject) && (denied(s[:at], been) || conditional(s[end:])) {
				continue
			}
			return true
		}
	}
	return false
}

// startsWith reports whether text, the end of s, begins with one of the alternatives.
func startsWith(s, text, alternatives string) bool {
	return matchAny(s, len(s)-len(text), alternatives) > 0
}

// follows returns the end of the alternative that follows position i of s, or -1 if none
// does. In between, there may be a name and then linking words, or words that say where the
// noun comes from, as in "the token included in the request is expired". been reports whether one
// of these words says that something has happened.
func follows(s string, i int, alternatives string) (end int, been bool) {
	noun, _, _ := wordBefore(s, i)
	sent := isToken(noun) || strings.EqualFold(noun, "key") || strings.EqualFold(noun, "credentials") // not a user, who may be the request's object
	for first := true; ; first = false {
		start := i
		for i < len(s) && isSpace(s[i]) {
			i++
		}
		if i == start || i == len(s) {
			return -1, false
		}
		if n := matchAny(s, i, alternatives); n > 0 {
			if isToken(s[i:i+n]) && !renewable(s, i) || owns(s, i) && strings.EqualFold(s[i:i+n], "invalid") { // "token has invalid claims"
				return -1, false
			}
			return i + n, been
		}
		if n := matchAny(s, i, "in the request|in this request|in your request|with the request|with this request|with your request|in the header|you provided|you supplied|you sent"); sent && n > 0 {
			i += n
			continue
		}
		start = i
		for i < len(s) && !isSpace(s[i]) {
			i++
		}
		chunk := strings.Trim(s[start:i], `'"()[]<>`)
		switch kindOf(chunk) {
		case link:
		case perfect:
			been = true
		case plain, subjectNoun:
			if !first || isToken(chunk) { // a name must come first, and "user token" is not a user's name
				return -1, false
			}
		default:
			return -1, false
		}
		if c := s[i-1]; c == ',' || c == ':' {
			return -1, false
		}
	}
}

// isSubject reports whether the noun at position i of s can be the subject of what
// follows: "the user is", but not "locked by another user is" or "refresh token is".
func isSubject(s string, i int) bool {
	for n := range 4 {
		word, start, adjacent := wordBefore(s, i)
		if !adjacent {
			return true
		}
		switch kindOf(word) {
		case foreign:
			if n == 0 {
				return false
			}
		case indefinite:
			return false
		case preposition:
			before, _, adjacent := wordBefore(s, start)
			return adjacent && kindOf(before) == subjectNoun
		case plain, subjectNoun, definite:
		default:
			return true
		}
		i = start
	}
	return true
}

// isToken reports whether a word is a noun for a token. The words around "JWT" change its
// meaning as they change that of "token".
func isToken(word string) bool {
	return strings.EqualFold(word, "token") || strings.EqualFold(word, "jwt")
}

// renewable reports whether a login renews the token at position i of s. The words before
// it decide: "access token", but not "personal access token" or "one-time login token".
func renewable(s string, i int) bool {
	for n := range 3 {
		word, start, adjacent := wordBefore(s, i)
		switch k := kindOf(word); {
		case !adjacent:
			return true
		case k == foreign, isForeign(word), n == 0 && strings.EqualFold(word, "api"): // but "API access token"
			return false
		case k != plain && k != subjectNoun:
			return true
		}
		i = start
	}
	return true
}

// isForeign reports whether a word makes a token one that a login does not renew. Unlike
// the words of the kind foreign, these words say nothing about other nouns: a "personal
// account" is an account.
func isForeign(word string) bool {
	var room [16]byte // longer than any word below
	switch string(lowered(room[:], word)) {
	case "passcode", "one", "onetime", "factor", "2fa", "tfa", "u2f", "hotp", "sms", "pin", "challenge", "hardware", // "one-time token", "two-factor token"
		"personal", "impersonation", "pat", "sts", "federation", "deploy", "bootstrap", "sas", "webhook", "hook", "bot", "robot", "acl", "integration", "license", // credentials of their own
		"runner", "agent", "node", "worker", "cluster", "host", "join", "installation", "setup", "provisioning", "registry", "job", "build", "pipeline", "trigger", "ci", // a machine's
		"recovery", "confirmation", "verification", "invite", "unlock", "enrollment", "unsubscribe", "email", "magic", // for one step with an account
		"forgery", "antiforgery", "recaptcha", "nonce", "page", "pagination", "continuation", "idempotency", "cursor", "sync", "state", // for one request
		"upload", "download", "import", "export", "transfer", "share", "sharing", "preview", "file", "image", "stream", "lock", "lease", // for one thing
		"payment", "checkout", "cart", "card", "order", "ticket", "push", "notification":
		return true
	}
	return false
}

// isLogin reports whether the session at position i of s begins with a login, as most do: "user
// session", "vCenter session", but not "upload session".
func isLogin(s string, i int) bool {
	for range 3 {
		word, start, adjacent := wordBefore(s, i)
		if !adjacent {
			return true
		}
		var room [16]byte // longer than any word below
		switch string(lowered(room[:], word)) {
		case "user", "account", "login", "logon", "auth", "authentication", "authenticated", "sso", "console", "portal", "s": // "user's session"
			return true
		case "upload", "download", "import", "export", "transfer", "copy", "migration", "backup", "restore", "replication", "sync", // for data
			"file", "image", "media", "stream", "streaming", "video", "audio", "recording", "share", "sharing", "preview", "edit", "editing", "editor",
			"payment", "checkout", "cart", "card", "order", "shopping", "purchase", "billing", "booking", "reservation", "ticket", // for goods
			"sms", "email", "otp", "totp", "mfa", "2fa", "factor", "pin", "captcha", "recaptcha", "verification", "challenge", "confirmation", // for one step with an account
			"registration", "signup", "activation", "invitation", "enrollment", "reset", "recovery", "onboarding", "device", "pairing",
			"game", "chat", "conversation", "meeting", "conference", "call", "voice", "training", "lab", "exam", "quiz", "survey", // for people
			"ssh", "rdp", "vnc", "terminal", "shell", "desktop", "tunnel", "vpn", "bgp", "tcp", "tls", "ssl", "websocket", "ftp", "sftp", "smtp", // of other protocols
			"database", "db", "sql", "query", "transaction", "spark", "notebook", "debug", "test", "scan", "search", "build", "job", "batch", "lock", "lease", "consul", "zookeeper":
			return false
		}
		switch kindOf(word) {
		case plain, foreign, aspect, subjectNoun, otherNoun:
		default:
			return true
		}
		i = start
	}
	return true
}

// lowered returns a word in lower case, in room, or nil if it does not fit into room.
func lowered(room []byte, word string) []byte {
	if len(word) > len(room) {
		return nil
	}
	for i := range len(word) {
		room[i] = lower(word[i])
	}
	return room[:len(word)]
}

// wordBefore returns the word before position i of s, and its position. adjacent is false
// if there is no such word, or if punctuation other than an underscore or the hyphen of a
// compound separates the two.
func wordBefore(s string, i int) (word string, start int, adjacent bool) {
	end := i
	for end > 0 && (isSpace(s[end-1]) || s[end-1] == '-' && !(end > 1 && isSpace(s[end-2])) || s[end-1] == '_') {
		end--
	}
	start = end
	for start > 0 && inWord(s[start-1]) {
		start--
	}
	return s[start:end], start, start < end
}

// actsOn reports whether the text after a match makes it a verb with an object, as in
// "user locked the file", or part of another noun, as in "lockout policy".
func actsOn(after string) bool {
	rest := strings.TrimLeft(after, " ")
	if len(rest) == len(after) {
		return false
	}
	switch kindOf(rest[:wordLen(rest)]) {
	case definite, indefinite, aspect:
		return true
	default:
		return false
	}
}

// owns reports whether the word before position i of s is "has" or a form of it.
func owns(s string, i int) bool {
	word, _, _ := wordBefore(s, i)
	return strings.EqualFold(word, "has") || strings.EqualFold(word, "have") || strings.EqualFold(word, "had")
}

// beginsName reports whether a match from at to end that ends with a token ends within the
// name of another thing, as in "invalid token header": a new token would not help.
func beginsName(s string, at, end int) bool {
	last, _, _ := wordBefore(s, end)
	if first := s[at:][:wordLen(s[at:])]; !isToken(last) || strings.EqualFold(first, "expired") || strings.EqualFold(first, "revoked") {
		return false
	}
	for {
		rest := strings.TrimLeft(s[end:], " \t\r")
		if len(rest) == len(s)-end {
			rest = strings.TrimLeft(rest, "-_")
		}
		word := rest[:wordLen(rest)]
		if word == "" || len(rest) == len(s)-end {
			return false
		}
		end = len(s) - len(rest) + len(word)
		if isToken(word) { // "invalid JWT token"
			continue
		}
		return isPart(word)
	}
}

// isPart reports whether a word after "token" names a part of one or of a request, or another
// thing, rather than stating a fault of the token or quoting the token.
func isPart(word string) bool {
	var room [16]byte // longer than any word below
	switch string(lowered(room[:], word)) {
	case "access", "login", "logon": // "access denied", "login required"
		return false
	case "header", "headers", "prefix", "scheme", "claim", "claims", "scopes", "permission", "permissions", "privileges", "parameter", "parameters", "param", "params",
		"field", "fields", "name", "payload", "body", "algorithm", "encoding", "version", "kind", "level", "usage", "purpose", "source", "origin", "location",
		"provider", "exchange", "introspection", "tenant", "realm", "domain", "organization", "owner", "option", "options", "configuration", "config", "url", "uri", "path", "query", "grant", "bucket":
		return true
	}
	switch kindOf(word) {
	case foreign, aspect, subjectNoun, otherNoun:
		return true
	default:
		return false
	}
}

// forOther reports whether a match about a token, from at to end, continues with "for", as in
// "token is not valid for this region": a new token would not help. "Not valid for any token
// type" says no more than "not valid".
func forOther(s string, at, end int) bool {
	if strings.Contains(strings.ToLower(s[at:end]), "expired") { // "for user alice" or "for 5 minutes"
		return false
	}
	first := s[at:][:wordLen(s[at:])]
	last, _, _ := wordBefore(s, end)
	rest := strings.TrimLeft(s[end:], " ")
	return (isToken(first) || isToken(last)) && strings.EqualFold(rest[:wordLen(rest)], "for") && !startsWith(s, rest, "for any token")
}

// denied reports whether the text before a statement denies it, makes it depend on a
// condition, puts it into the future, or turns it into a relative clause. been says that
// the statement is about something that has happened.
func denied(before string, been bool) bool {
	var no, later, maybe bool // in this clause, in this part of the sentence, in the sentence
	last := plain
	for i := 0; i < len(before); {
		n := wordLen(before[i:])
		if n == 0 {
			switch c := before[i]; {
			case c == ':', c == '-' && i > 0 && isSpace(before[i-1]):
				no, later = false, false
			case c == ',', c == '(', c == ')', c == '[', c == ']':
				no = false
			}
			i++
			continue
		}
		last = kindOf(before[i : i+n])
		switch last {
		case denial:
			no = true
		case conjunction:
			no = false
		case temporal:
			later = true
		case past:
			later = later || !been
		case comparative:
			later = later || isMore(before[i+n:])
		case condition:
			maybe = true
		default: // no other word changes the meaning
		}
		i += n
	}
	return no || later || maybe || last == relative
}

// conditional reports whether the text after a statement makes it depend on a condition:
// "locked if you fail again", "locked after 2 more attempts".
func conditional(after string) bool {
	for i := 0; i < len(after); {
		n := wordLen(after[i:])
		if n == 0 {
			if c := after[i]; c == ',' || c == ':' || c == '(' {
				return false
			}
			i++
			continue
		}
		word := after[i : i+n]
		i += n
		switch kindOf(word) {
		case condition:
			return true
		case comparative:
			if isMore(after[i:]) {
				return true
			}
		default: // no other word changes the meaning
		}
	}
	return false
}

// isMore reports whether a "more" or "further" before this text refers to something in the
// future, as in "2 more attempts", but not in "more than 2 attempts".
func isMore(after string) bool {
	rest := strings.TrimLeft(after, " ")
	return !strings.EqualFold(rest[:wordLen(rest)], "than")
}

// A kind is what a word contributes to a sentence.
type kind uint8

const (
	plain       kind = iota // any other word, such as a name
	link                    // can stand between a subject and what is said of it
	perfect                 // like link, and says that something has happened
	denial                  // denies what follows in its clause, or puts it into the future
	temporal                // makes what follows future or hypothetical
	past                    // like temporal, unless what follows has happened
	condition               // makes the sentence depend on a condition
	comparative             // "more" or "further", as in "after 2 more attempts"
	conjunction             // begins a clause
	relative                // "that" or a similar word, as in "users that already exist"
	preposition             // makes a noun the object of something
	definite                // "the", or a similar word
	indefinite              // like definite, but the noun is not the caller's own
	foreign                 // makes a token one that a login does not renew
	aspect                  // makes the words before it part of a compound noun, as in "lockout policy"
	subjectNoun             // an account, user, login, access key or token
	otherNoun               // another noun, such as one that can follow account, user or token
)

// kindOf returns the kind of a word. "isn't" counts as "isn".
func kindOf(word string) kind {
	word, _, _ = strings.Cut(word, "'")
	word, _, _ = strings.Cut(word, "’")
	var room [16]byte // longer than any word below
	switch string(lowered(room[:], word)) {
	case "is", "are", "was", "were", "has", "have", "had", "also", "or", "and", "out", "automatically", "status", "permanently",
		"failed", "wrong", "incorrect", "invalid", "bad", "unsuccessful", "consecutive", "successive", "recent",
		"provided", "given", "supplied", "specified", "submitted", "included", "used", "entered", "sent":
		return link
	case "been", "now", "currently", "temporarily", "already", "just":
		return perfect
	case "not", "never", "no", "nor", "neither", "will", "would", "shall", "should", "may", "might", "can", "could", "cannot", "must",
		"be", "being", "isn", "aren", "wasn", "weren", "hasn", "haven", "hadn", "doesn", "don", "didn", "won", "couldn", "wouldn", "without":
		return denial
	case "before", "until", "till", "when", "whenever", "once", "avoid", "avoids", "prevent", "prevents", "whether":
		return temporal
	case "after":
		return past
	case "if", "unless", "otherwise", "else", "lest":
		return condition
	case "more", "further":
		return comparative
	case "because", "since", "as", "while", "but", "so", "due", "reason":
		return conjunction
	case "that", "which", "who":
		return relative
	case "of", "by", "for", "from", "to", "with", "on", "in", "at", "per", "within", "under":
		return preposition
	case "the", "this", "these", "those", "your", "my", "his", "her", "its", "their", "our", "it", "all":
		return definite
	case "a", "an", "any", "each", "every", "another", "other", "some":
		return indefinite
	case "refresh", "security", "csrf", "xsrf", "mfa", "otp", "totp", "subject", "id", "saml", "device", "reset",
		"invitation", "activation", "registration", "captcha", "session":
		return foreign
	case "policy", "policies", "threshold", "duration", "setting", "settings", "period", "rule", "rules", "counter", "date", "format",
		"length", "scope", "endpoint", "type", "audience", "issuer", "expiry", "expiration", "change", "changes", "requests", "request",
		"calls", "connections", "sessions":
		return aspect
	case "account", "user", "ak", "login", "logon", "token", "access":
		return subjectNoun
	case "group", "groups", "pool", "resource", "resources", "volume", "server", "instance", "database", "table", "row", "file", "record",
		"object", "project", "role", "network", "port", "queue", "quota", "data", "directory", "service", "api", "app", "feature",
		"profile", "list", "page", "agency", "region", "host", "disk", "image", "cluster", "key", "keys", "mode":
		return otherNoun
	}
	return plain
}

func wordLen(s string) int {
	n := 0
	for n < len(s) && inWord(s[n]) {
		n++
	}
	return n
}

// index returns the first position of phrase in text, or -1 if text does not contain
// phrase. It matches only at word boundaries, and ignores the case of text; phrase must be
// in lower case.
func index(text, phrase string) int {
	at, _ := find(text, phrase)
	return at
}

// find does what index does, and also returns the match's length.
func find(text, phrase string) (at, length int) {
	for i := range len(text) {
		if lower(text[i]) != phrase[0] {
			continue
		}
		if n := matchAt(text, i, phrase); n > 0 {
			return i, n
		}
	}
	return -1, 0
}

// matchAny returns the length of the first alternative that stands at position i of text,
// or 0.
func matchAny(text string, i int, alternatives string) int {
	for more := true; more; {
		var phrase string
		phrase, alternatives, more = strings.Cut(alternatives, "|")
		if n := matchAt(text, i, phrase); n > 0 {
			return n
		}
	}
	return 0
}

// matchAt returns how many bytes of text the phrase matches at position i, or 0 if the
// phrase does not stand there. A star at the end of the phrase matches the rest of a word.
func matchAt(text string, i int, phrase string) int {
	if i > 0 && inWord(text[i-1]) {
		return 0
	}
	phrase, stem := strings.CutSuffix(phrase, "*")
	n := match(text[i:], phrase)
	switch {
	case n == 0:
		return 0
	case stem:
		return n + wordLen(text[i+n:])
	case i+n < len(text) && inWord(text[i+n]):
		return 0
	}
	return n
}

// match returns how many bytes at the beginning of text the phrase matches, or 0 if text
// does not begin with the phrase. A star within the phrase matches the rest of a word.
func match(text, phrase string) (n int) {
	for _, want := range []byte(phrase) {
		switch want {
		case '*':
			n += wordLen(text[n:])
			continue
		case ' ':
			if n == len(text) || inWord(text[n]) {
				return 0
			}
			for n < len(text) && !inWord(text[n]) {
				n++
			}
			continue
		}
		if n == len(text) || lower(text[n]) != want {
			return 0
		}
		n++
	}
	return n
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func inWord(c byte) bool {
	c = lower(c)
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c >= 0x80
}
