package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
)

// operationTimeout is Terraform's default timeout for an operation. All calls in one
// operation share one deadline.
const operationTimeout = 20 * time.Minute

// A resource is a Terraform resource. It knows the resources that it depends on.
type resource struct {
	name    string
	kind    kind
	needs   []*resource
	id      string        // "" until the resource has been created, and again once it has been deleted
	settled chan struct{} // closed when the operation in the current phase has ended
}

// A kind creates, reads and deletes the resources of one kind. Each method sends a single
// request, unless a request is retried.
type kind interface {
	create(ctx context.Context, j *job, r *resource) (id string, err error)
	read(ctx context.Context, j *job, r *resource) error
	delete(ctx context.Context, j *job, r *resource) error
}

type (
	group      struct{}
	project    struct{}
	assignment struct{}
)

func (group) create(ctx context.Context, j *job, r *resource) (string, error) {
	g, err := groups.Create(ctx, j.identity, groups.CreateOpts{Name: r.name}).Extract()
	if err != nil {
		return "", err
	}
	return g.ID, nil
}

func (group) read(ctx context.Context, j *job, r *resource) error {
	return groups.Get(ctx, j.identity, r.id).Err
}

func (group) delete(ctx context.Context, j *job, r *resource) error {
	return groups.Delete(ctx, j.identity, r.id).ExtractErr()
}

func (project) create(ctx context.Context, j *job, r *resource) (string, error) {
	p, err := projects.Create(ctx, j.identity, projects.CreateOpts{Name: r.name}).Extract()
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

// read looks up the project by name: with Keystone's new defaults, the admin of one
// project can list other projects, but cannot get one of them by its ID.
func (project) read(ctx context.Context, j *job, r *resource) error {
	_, err := projects.List(j.identity, projects.ListOpts{Name: r.name}).AllPages(ctx)
	return err
}

func (project) delete(ctx context.Context, j *job, r *resource) error {
	return projects.Delete(ctx, j.identity, r.id).ExtractErr()
}

func (assignment) create(ctx context.Context, j *job, r *resource) (string, error) {
	opts := roles.AssignOpts{GroupID: r.needs[0].id, ProjectID: r.needs[1].id}
	return j.role, roles.Assign(ctx, j.identity, j.role, opts).ExtractErr()
}

func (assignment) read(ctx context.Context, j *job, r *resource) error {
	opts := roles.ListAssignmentsOnResourceOpts{GroupID: r.needs[0].id, ProjectID: r.needs[1].id}
	_, err := roles.ListAssignmentsOnResource(j.identity, opts).AllPages(ctx)
	return err
}

func (assignment) delete(ctx context.Context, j *job, r *resource) error {
	opts := roles.UnassignOpts{GroupID: r.needs[0].id, ProjectID: r.needs[1].id}
	return roles.Unassign(ctx, j.identity, r.id, opts).ExtractErr()
}

// A job is a complete Terraform run on one configuration: plan, apply, plan, destroy.
type job struct {
	each, parallel int
	show           display

	identity  *gophercloud.ServiceClient
	cloud     *counter
	name      string // the way's name or "clean up", for the display
	role      string // the ID of the role to assign; "" until it is known
	resources []*resource
}

// run executes the job. An ideal client sends one request to look up the role, and four
// for each resource: one to create it, one to read it back, one to read it in the second
// plan, and one to delete it.
func (j *job) run(ctx context.Context) result {
	prefix := "provider-" + strings.ToLower(rand.Text()[:8])
	for i := range j.each {
		g := &resource{name: fmt.Sprintf("%s-group-%04d", prefix, i), kind: group{}}
		p := &resource{name: fmt.Sprintf("%s-project-%04d", prefix, i), kind: project{}}
		a := &resource{name: fmt.Sprintf("%s-assignment-%04d", prefix, i), kind: assignment{}, needs: []*resource{g, p}}
		j.resources = append(j.resources, g, p, a)
	}
	began := time.Now()
	total := result{needed: 1 + 4*len(j.resources)}
	total.add(j.plan(ctx))
	total.add(j.apply(ctx))
	for _, r := range j.resources {
		if r.id != "" {
			total.made++
		}
	}
	total.add(j.plan(ctx))
	total.add(j.destroy(ctx))
	total.took = time.Since(began)
	total.requests, total.throttled = j.cloud.counts()
	return total
}

func (r *result) add(phase result) {
	r.failed += phase.failed
	if r.first == nil {
		r.first = phase.first
	}
}

// plan reads the existing resources. If the role is not known yet, plan also looks it up,
// as a Terraform data source does.
func (j *job) plan(ctx context.Context) result {
	lookUp := result{}
	if j.role == "" {
		if err := j.findRole(ctx); err != nil {
			lookUp = result{failed: 1, first: err}
		}
	}
	r := j.walk(ctx, "plan", j.existing(), false, func(ctx context.Context, r *resource) error {
		return r.kind.read(ctx, j, r)
	})
	r.add(lookUp)
	return r
}

// apply creates the resources and reads them back. Each resource is created after
// the resources that it needs.
func (j *job) apply(ctx context.Context) result {
	return j.walk(ctx, "apply", j.resources, false, func(ctx context.Context, r *resource) error {
		for _, n := range r.needs {
			if n.id == "" {
				return fmt.Errorf("%s: %s does not exist", r.name, n.name)
			}
		}
		id, err := r.kind.create(ctx, j, r)
		if err != nil {
			return fmt.Errorf("create %s: %w", r.name, err)
		}
		r.id = id
		if err := r.kind.read(ctx, j, r); err != nil {
			return fmt.Errorf("read %s: %w", r.name, err)
		}
		return nil
	})
}

// destroy deletes the existing resources. Each resource is deleted before the resources
// that it needs.
func (j *job) destroy(ctx context.Context) result {
	return j.walk(ctx, "destroy", j.existing(), true, func(ctx context.Context, r *resource) error {
		if err := r.kind.delete(ctx, j, r); err != nil && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return fmt.Errorf("delete %s: %w", r.name, err)
		}
		r.id = ""
		return nil
	})
}

func (j *job) findRole(ctx context.Context) error {
	pages, err := roles.List(j.identity, roles.ListOpts{Name: "member"}).AllPages(ctx)
	if err != nil {
		return fmt.Errorf("look up the role: %w", err)
	}
	found, err := roles.ExtractRoles(pages)
	if err != nil {
		return fmt.Errorf("look up the role: %w", err)
	}
	if len(found) == 0 {
		return errors.New(`look up the role: there is no role "member"`)
	}
	j.role = found[0].ID
	return nil
}

func (j *job) existing() (found []*resource) {
	for _, r := range j.resources {
		if r.id != "" {
			found = append(found, r)
		}
	}
	return found
}

func (j *job) left() bool { return len(j.existing()) > 0 }

// walk calls do for each resource, with at most j.parallel calls at a time. A resource is
// handled after the resources that it needs, or before them if backwards is set.
func (j *job) walk(ctx context.Context, phase string, all []*resource, backwards bool, do func(context.Context, *resource) error) (total result) {
	after := map[*resource][]*resource{} // for each resource, the resources that must be settled first
	for _, r := range all {
		r.settled = make(chan struct{})
	}
	for _, r := range all {
		for _, n := range r.needs {
			if backwards {
				after[n] = append(after[n], r)
			} else {
				after[r] = append(after[r], n)
			}
		}
	}
	p := j.begin(phase, len(all))
	defer p.end()
	var mu sync.Mutex
	var walkers sync.WaitGroup
	slots := make(chan struct{}, j.parallel)
	for _, r := range all {
		walkers.Go(func() {
			defer close(r.settled)
			for _, other := range after[r] {
				<-other.settled
			}
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, operationTimeout)
			defer cancel()
			err := do(ctx, r)
			p.done(err)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				total.add(result{failed: 1, first: err})
			}
		})
	}
	walkers.Wait()
	return total
}
