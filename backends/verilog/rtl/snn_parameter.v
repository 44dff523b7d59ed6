// A parameter of a population: one for all neurons (SPAN 0), one for each channel (1) or for each neuron (2),
// and with STEPS > 1 others at every step. A row of the memory holds it for LANES channels.
module snn_parameter #(
    parameter WIDTH = 8,
    parameter SPAN = 1,
    parameter ROWS = 1,         // of one step
    parameter STEPS = 1,
    parameter GROUP = 1,
    parameter WORD = 1,
    parameter FILE = ""
) (
    input wire clk,
    input wire restart,
    input wire next_step,
    input wire enable,
    input wire [GROUP-1:0] group,
    input wire [WORD-1:0] word,
    output wire [WIDTH-1:0] data
);
    localparam ADDRESS = (ROWS * STEPS > 1) ? $clog2(ROWS * STEPS) : 1;

    reg [ADDRESS-1:0] base;
    // verilator lint_off WIDTH
    // group and word lie below ROWS, whatever their own widths
    wire [ADDRESS-1:0] address = base + (SPAN == 0 ? 0 : SPAN == 1 ? group : word);

    always @(posedge clk) begin
        if (restart) base <= 0;
        else if (next_step && STEPS > 1) base <= base + ROWS;
    end
    // verilator lint_on WIDTH

    snn_rom #(.WIDTH(WIDTH), .DEPTH(ROWS * STEPS), .FILE(FILE)) values (
        .clk(clk), .enable(enable), .address(address), .data(data)
    );
endmodule
