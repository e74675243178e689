package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/iamhttp/iamhttp"
	"github.com/iamhttp/iamhttp/gate"
	"github.com/iamhttp/iamhttp/iamotel"
)

func measured() (*http.Client, http.Handler, error) {
	exporter, err := prometheus.New() // into the default registry, which promhttp serves
	if err != nil {
		return nil, nil, err
	}
	tel := iamotel.Telemetry{MeterProvider: metric.NewMeterProvider(metric.WithReader(exporter))}
	client := &http.Client{
		Transport: &iamhttp.Transport{
			Base:      tel.Spans(nil), // counts the retries
			Gate:      tel.Gate(new(gate.Adaptive)),
			OnFailure: tel.OnFailure,
		},
		Timeout: time.Minute,
	}
	return client, promhttp.Handler(), nil
}
