package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// config is what the file says.
type config struct {
	Address  string `json:"address"`
	Greeting string `json:"greeting"`
}

func readConfig(name string) (c config, err error) {
	f, err := os.Open(name)
	if err != nil {
		return c, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err = d.Decode(&c); err == nil && c.Address == "" {
		err = errors.New("no address: write where to listen")
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}
